"""Seeing: what a call would do (explain), and what this machine has (info)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from inspect import signature
from typing import Any

import numpy as np

from pyconv import (
    _core,
    adaptive_pooling,
    columns,
    columns_arguments,
    conv_arguments,
    convolution,
    pool_arguments,
    pooling,
)
from pyconv.backends import cuda_unavailable, requested_device
from pyconv.layers import Layer
from pyconv.planning import candidates, pick, plan_cache_info
from pyconv.protocols import Candidate, Event, Problem
from pyconv.running import Call

__all__ = ["Explanation", "Info", "explain", "info"]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What one call would do, and what the alternatives would.

    Parameters
    ----------
    operation : str
        The public function.
    problem : ConvProblem or PoolProblem
        The call as plain integers.
    device : str
        Where it would run.
    chosen : str
        The algorithm that would run.
    candidates : tuple of Candidate
        Every algorithm: cost in microseconds, bytes by level, workspace, or the reason
        it is refused.
    compulsory_bytes : int
        Inputs read once and output written once: no algorithm moves less.
    events : tuple of Event
        Copies and transfers that the call would make.
    """

    operation: str
    problem: Problem
    device: str
    chosen: str
    candidates: tuple[Candidate, ...]
    compulsory_bytes: int
    events: tuple[Event, ...]

    def redundancy(self, name: str) -> float:
        """Bytes an algorithm moves out of L2 for every compulsory byte."""
        moved = next(one.bytes["l1"] for one in self.candidates if one.name == name)
        return moved / self.compulsory_bytes

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "operation": self.operation,
            "device": self.device,
            "chosen": self.chosen,
            "compulsory_bytes": self.compulsory_bytes,
            "problem": asdict(self.problem),
            "candidates": [
                {**asdict(one), "supported": one.supported} for one in self.candidates
            ],
            "events": [asdict(event) for event in self.events],
        }

    def to_json(self) -> str:
        """Return JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        problem = self.problem
        lines = [
            (
                f"{self.operation} on {self.device}: input {problem.input} kernel "
                f"{problem.kernel} output {problem.output}, n={problem.n}; "
                f"{problem.flops / 1e6:.4g} MFLOP, compulsory "
                f"{self.compulsory_bytes / 1e6:.4g} MB"
            ),
            (
                f"  {'algorithm':<14}{'cost us':>12}{'pack us':>10}{'L1 MB':>10}{'L2 MB':>10}"
                f"{'DRAM MB':>10}{'scratch MB':>12}{'L1/compulsory':>15}"
            ),
        ]
        for one in self.candidates:
            mark = ">" if one.name == self.chosen else " "
            if not one.supported:
                lines.append(f"{mark} {one.name:<14}refused: {one.reason}")
                continue
            sizes = [one.bytes[level] / 1e6 for level in ("l1", "l2", "dram")]
            lines.append(
                f"{mark} {one.name:<14}{one.cost_us:>12.4g}{one.pack_us:>10.4g}"
                + "".join(f"{size:>10.4g}" for size in sizes)
                + f"{one.workspace_bytes / 1e6:>12.4g}{self.redundancy(one.name):>15.3g}"
            )
        lines += [
            f"  {event.kind} of {event.argument}: {event.bytes} bytes, {event.reason}"
            for event in self.events
        ]
        return "\n".join(lines)


def _readers() -> dict[Any, Callable[..., Call]]:
    """Map each public function to what reads its arguments."""
    readers: dict[Any, Callable[..., Call]] = {
        getattr(convolution, f"conv{rank}d"): partial(conv_arguments.prepare, rank)
        for rank in (1, 2, 3)
    }
    for name in pool_arguments.POOLS:
        function = getattr(pooling, name, None) or getattr(adaptive_pooling, name)
        readers[function] = partial(pool_arguments.prepare, name)
    readers[columns.im2col] = columns_arguments.prepare_im2col
    readers[columns.col2im] = columns_arguments.prepare_col2im
    return readers


_READERS = _readers()


def _read(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Call:
    """Read a call of a public function or a layer, and copy nothing."""
    if isinstance(function, Layer):
        return function.explained(*args, **kwargs)
    try:
        reader = _READERS[function]
    except (KeyError, TypeError):  # no function may have no hash
        names = ", ".join(known.__name__ for known in _READERS)
        raise TypeError(
            f"explain takes one of {names} or a layer, got {function!r:.60}"
        ) from None
    # Public parameters and the reader's have the same names.
    return reader(**signature(function).bind(*args, **kwargs).arguments, dry=True)


def explain(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """Say what a call would do; nothing is computed, copied or allocated.

    Parameters
    ----------
    function : callable
        A convolution, a pooling, or a layer such as Conv2d.
    *args, **kwargs
        Its arguments; only shapes, dtypes and strides of arrays matter.

    Returns
    -------
    Explanation
        Every algorithm with its estimated cost, predicted bytes and workspace, or the
        reason it is refused; the one that would run. Prints as a table.

    Raises
    ------
    TypeError
        For another function.
    ValueError
        What the call itself would raise.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x, w = np.ones((1, 8, 32, 32), np.float32), np.ones((8, 8, 3, 3), np.float32)
    >>> pc.explain(pc.conv2d, x, w, padding=1).chosen in pc.algorithms("conv")
    True
    """
    call = _read(function, args, kwargs)
    keeps_weights = isinstance(function, Layer)
    chosen, _ = pick(call.problem, call.backend, call.algorithm, keeps_weights)
    return Explanation(
        operation=call.name,
        problem=call.problem,
        device=call.backend.name,
        chosen=chosen.name,
        candidates=candidates(call.problem, call.backend),
        compulsory_bytes=call.problem.compulsory_bytes,
        events=tuple(call.road.events),
    )


class Info(dict[str, Any]):
    """What info() found; prints one fact a line."""

    def __str__(self) -> str:
        lines = []
        for name, value in self.items():
            if isinstance(value, dict):
                text = ", ".join(f"{key} {item}" for key, item in value.items())
            elif isinstance(value, tuple):
                text = ", ".join(map(str, value))
            else:
                text = str(value)
            lines.append(f"{name:<16}{text}")
        return "\n".join(lines)


def info() -> Info:
    """Report version, instruction sets, threads, caches and devices.

    Returns
    -------
    Info
        A dict: version, numpy, isa (in use), isas (runnable here), threads, machine,
        device, cuda ("available" or the reason why not), output_pool, plan_cache,
        call_cache. Sizes are in bytes.

    Examples
    --------
    >>> import pyconv as pc
    >>> pc.info()["isa"] in pc.info()["isas"]
    True
    """
    return Info(
        version=_core.version,
        numpy=np.__version__,
        isa=_core.active_isa(),
        isas=_core.isa_names(),
        threads=_core.get_num_threads(),
        machine=dict(_core.machine()),
        device=requested_device(),
        cuda=cuda_unavailable() or "available",
        output_pool=dict(_core.output_pool()),
        plan_cache=plan_cache_info(),
        call_cache=dict(_core.fast_path_info()),
    )
