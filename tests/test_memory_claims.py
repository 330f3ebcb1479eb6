"""The model of data movement, held against what was counted: 1 % and 30 %.

Hardware counters are asked where there are any. The counts of a simulation are recorded
in benchmarks/results, and the model is held against them everywhere: it is asked about
that machine's caches.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from benchmarks.simulated import flops_of, predicted, read_dump
from pyconv import _core
from pyconv.movement.layers import NETWORKS
from pyconv.movement.meters import CpuMeter

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results"
SIMULATED = sorted(RESULTS.glob("*/simulated-*.json"))
FLOPS_WITHIN = 0.01
BYTES_WITHIN = 0.3
MOST_US = 1e5


def shares(pairs: list[tuple[str, float, float]]) -> dict[str, float]:
    """How much of each quantity is within its bounds."""
    held: dict[str, list[bool]] = {}
    for quantity, model, counted in pairs:
        within = FLOPS_WITHIN if quantity == "flops" else BYTES_WITHIN
        held.setdefault(quantity, []).append(abs(model / counted - 1) <= within)
    return {quantity: sum(fits) / len(fits) for quantity, fits in held.items()}


@pytest.mark.parametrize("path", SIMULATED, ids=lambda path: path.stem)
def test_the_model_holds_against_a_simulation(path: Path) -> None:
    report = json.loads(path.read_text())
    if report["machine"]["isa"] not in _core.isa_names():
        pytest.skip(f"{report['machine']['isa']} cannot run here")
    pairs = [
        (quantity, run["predicted"][quantity], run["measured"][quantity])
        for runs in predicted(report).values()
        for run in runs.values()
        for quantity in ("flops", "l1", "l2")
    ]
    assert len(pairs) > 400
    found = shares(pairs)
    assert found["flops"] >= 0.9
    assert found["l1"] >= 0.8
    assert found["l2"] >= 0.8


@pytest.mark.slow
def test_the_model_holds_against_the_hardware() -> None:
    meter = CpuMeter()
    unit = meter.count(lambda: None)
    if unit["flops"].value is None:
        pytest.skip(f"counting is not possible here: {unit['flops'].reason}")
    pairs: list[tuple[str, float, float]] = []
    for layer in (*NETWORKS["resnet50"], *NETWORKS["vgg16"]):
        x, w = np.ones(layer.x_shape, np.float32), np.ones(layer.w_shape, np.float32)
        given: dict[str, Any] = {"stride": layer.stride, "padding": layer.pads}
        for one in pc.explain(pc.conv2d, x, w, **given).candidates:
            if one.reason or one.rounding == "fft" or one.cost_us > MOST_US:
                continue
            run = partial(pc.conv2d, x, w, algorithm=one.name, **given)
            counts = meter.count(run)
            model = {"flops": one.flops, **one.bytes}
            for quantity in ("flops", "l1", "l2"):
                counted = counts[quantity].value
                if counted:
                    pairs.append((quantity, model[quantity], counted))
    found = shares(pairs)
    assert found["flops"] >= 0.9
    assert all(found[level] >= 0.8 for level in ("l1", "l2") if level in found)


@pytest.mark.parametrize(
    ("mnemonic", "operands", "flops"),
    [
        ("vfmadd231ps", "%ymm1,%ymm2,%ymm3", 16),
        ("vfnmadd213pd", "(%rax),%ymm2,%ymm3", 8),
        ("vfmadd132ss", "%xmm1,%xmm2,%xmm3", 2),
        ("vmulps", "(%rax,%rdx,4),%xmm1,%xmm2", 4),
        ("addss", "%xmm0,%xmm1", 1),
        ("vsubpd", "%zmm1,%zmm2,%zmm3", 8),
        ("vmovups", "%ymm1,(%rax)", 0),
        ("add", "$0x20,%rax", 0),
        ("imul", "%rax,%rdx", 0),
    ],
)
def test_instructions_are_weighted_by_their_lanes(
    mnemonic: str, operands: str, flops: int
) -> None:
    assert flops_of(mnemonic, operands) == flops


def test_a_dump_is_read() -> None:
    text = """version: 1
desc: Trigger: --dump-after=run
events: Ir Dr Dw I1mr D1mr D1mw ILmr DLmr DLmw

ob=/lib/other.so
fn=elsewhere
0x10 0 1000 0 0

ob=/lib/ours.so
fn=kernel
0x10 0 5 1 0 0 2
0x14 0 7
calls=1 0x99 0
0x10 0 900 1 1
0x18 0 3

totals: 1015 2 0 0 40 2 0 4 1
"""
    counted = read_dump(text, "/lib/ours.so", {0x10: 16, 0x18: 2})
    assert counted == {"flops": 5 * 16 + 3 * 2, "l1": 64.0 * 42, "l2": 64.0 * 5}
