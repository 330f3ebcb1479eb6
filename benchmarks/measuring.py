"""One case: every contender's output is checked, then they take turns; a JSON record.

A layer's outputs are held against exact float64 sums at sampled places (oracle.py), and
its first and last image, whole, against the first contender's. A network's are held
against PyTorch in float64. Who computes something else is not timed.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.contenders import (
    MEMORY_ORDERS,
    PyconvFunction,
    PyconvLayer,
    arrange,
)
from benchmarks.oracle import PEER_SLACK, Array, conv_error, tensors
from benchmarks.peers import MAKERS, Contender
from benchmarks.timing import REST_SECONDS, alternate
from pyconv.movement.layers import Layer

# Whole outputs agree to this share of the largest value: 32-bit rounding stays far
# below it, one wrong element does not.
AGREEMENT = 1e-3


@dataclass(frozen=True)
class Budget:
    """How long a case may take: turns for each contender, seconds of calls in a turn."""

    rounds: int = 3
    turn_seconds: float = 0.04
    rest_seconds: float = REST_SECONDS


def family(name: str) -> str:
    """The library a contender belongs to."""
    return name.partition("-")[0]


def own_contenders() -> dict[str, Contender]:
    """pyconv's: layers with fresh and with reused outputs, and the function."""
    made: list[Contender] = [
        PyconvLayer(memory, reuse=reuse)
        for reuse in (False, True)
        for memory in MEMORY_ORDERS
    ]
    return {entry.name: entry for entry in [*made, PyconvFunction()]}


def roster(
    names: Iterable[str], threads: int
) -> tuple[dict[str, Contender], dict[str, str]]:
    """Contenders by name, libraries one after the other; who is missing, and why."""
    own = own_contenders()
    found: dict[str, Contender] = {}
    missing: dict[str, str] = {}
    for name in sorted(names, key=lambda name: name in own):
        try:
            found[name] = own[name] if name in own else MAKERS[name](threads)
        except ImportError as reason:
            missing[name] = str(reason)
    return found, missing


def disagreement(y: Array, first: Array | None) -> float:
    """Largest difference in the first and last image, over the largest value."""
    if first is None:
        return 0.0
    return float(
        np.max(np.abs(y[[0, -1]] - first)) / max(float(np.max(np.abs(first))), 1e-30)
    )


def measure_layer(
    layer: Layer, contenders: dict[str, Contender], budget: Budget
) -> dict[str, Any]:
    """Check and time one layer."""
    x, w, b = tensors(layer)
    given = {memory: arrange(x, memory) for memory in MEMORY_ORDERS}
    facts: dict[str, Any] = {}
    calls = {}
    took = {}
    first: Array | None = None
    for name, entry in contenders.items():
        fact: dict[str, Any] = {}
        facts[name] = fact
        try:
            refusal = entry.supports(layer)
            if refusal:
                fact["not_timed"] = refusal
                continue
            if isinstance(entry, PyconvLayer | PyconvFunction):
                prediction = entry.prediction(layer)
                fact["algorithm"] = prediction["algorithm"]
                fact["rounding"] = prediction["rounding"]
            memory = getattr(entry, "memory", "nchw")
            prepared = entry.prepare(layer, given[memory], w, b)
            start = time.perf_counter()
            y = prepared.output()
            took[name] = time.perf_counter() - start
            rounding = fact.get("rounding", "peer")
            fact["error_over_bound"] = conv_error(layer, x, w, b, y, rounding=rounding)
        # One contender's fault must not end a run of half an hour.
        except Exception as failure:  # noqa: BLE001
            fact["not_timed"] = f"failed: {failure!r}"
            continue
        differs = disagreement(y, first)
        most = PEER_SLACK if rounding == "peer" else 1
        if fact["error_over_bound"] > most or not differs <= AGREEMENT:
            bounds = fact["error_over_bound"]
            fact["not_timed"] = (
                f"wrong: {bounds:.3g} times the bound, "
                f"{differs:.3g} of the largest value from the first contender's"
            )
            continue
        if first is None:
            first = y[[0, -1]]
        calls[name] = prepared.run
    times(facts, calls, took, layer.flops, budget)
    return {
        "case": layer.id,
        "batch": layer.n,
        "flops": layer.flops,
        "compulsory_bytes": layer.compulsory_bytes(),
        "contenders": facts,
    }


def measure_network(
    net: networks.Network, names: Iterable[str], budget: Budget
) -> dict[str, Any]:
    """Check and time one network; PyTorch must be installed."""
    torch: Any = import_module("torch")
    right = networks.exact(torch, net)
    facts: dict[str, Any] = {}
    calls = {}
    took = {}
    for name in names:
        memory = name.rpartition("-")[2]
        run = (
            networks.through_pyconv(net, memory)
            if family(name) == "pyconv"
            else networks.through_torch(torch, net, memory, torch.float32)
        )
        start = time.perf_counter()
        outputs = run()
        took[name] = time.perf_counter() - start
        off = networks.error(outputs, right)
        facts[name] = {"error": off}
        if off <= AGREEMENT:
            calls[name] = run
        else:
            facts[name]["not_timed"] = f"wrong: {off:.3g} of the largest value off"
    times(facts, calls, took, net.flops, budget)
    return {
        "case": net.id,
        "batch": net.n,
        "flops": net.flops,
        "contenders": facts,
    }


def times(
    facts: dict[str, Any],
    calls: dict[str, Callable[[], object]],
    took: dict[str, float],
    flops: int,
    budget: Budget,
) -> None:
    """Let the contenders take turns; each one's sample goes into its facts."""
    samples = alternate(
        calls,
        rounds=budget.rounds,
        turn_seconds=budget.turn_seconds,
        rest_seconds=budget.rest_seconds,
        families={name: family(name) for name in calls},
        first_calls=took,
    )
    for name, sample in samples.items():
        facts[name]["seconds"] = sample.as_dict()
        facts[name]["gflops"] = flops / sample.round / 1e9


def faults(records: Iterable[dict[str, Any]]) -> list[str]:
    """Contenders that failed or computed something else, as sentences."""
    return [
        f"{name} on {record['case']}: {fact['not_timed']}"
        for record in records
        for name, fact in record["contenders"].items()
        if fact.get("not_timed", "").startswith(("wrong", "failed"))
    ]


def best(record: dict[str, Any], names: Iterable[str]) -> tuple[str, float]:
    """The fastest of some contenders and its seconds; infinite if none was timed."""
    timed = [
        (fact["seconds"]["round"], name)
        for name in names
        if "seconds" in (fact := record["contenders"].get(name, {}))
    ]
    seconds, name = min(timed, default=(math.inf, ""))
    return name, seconds
