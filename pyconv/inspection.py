"""Seeing: what a call would do (explain), and what this machine has (info)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pyconv import _core, conv_arguments, convolution, pooling
from pyconv.backends import cuda_unavailable, requested_device
from pyconv.layers import Layer
from pyconv.planning import candidates, pick, plan_cache_info
from pyconv.protocols import Candidate, Event, Problem

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


def _conv(rank: int) -> Callable[..., Any]:
    """Bind prepare() to a rank."""

    def prepare(*args: Any, **kwargs: Any) -> Any:
        return conv_arguments.prepare(rank, *args, dry=True, **kwargs)

    return prepare


def _max_pool(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: Any = False,
    return_indices: Any = False,
    **kwargs: Any,
) -> Any:
    """Read max_pool2d's arguments."""
    return pooling.prepare(
        "max",
        x,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        return_indices=return_indices,
        dry=True,
        **kwargs,
    )


def _avg_pool(
    x: Any,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    ceil_mode: Any = False,
    count_include_pad: Any = True,
    divisor_override: Any = None,
    *,
    dilation: Any = 1,
    **kwargs: Any,
) -> Any:
    """Read avg_pool2d's arguments."""
    return pooling.prepare(
        "average",
        x,
        kernel_size,
        stride,
        padding,
        dilation,
        ceil_mode,
        count_include_pad,
        divisor_override,
        dry=True,
        **kwargs,
    )


_READERS: Mapping[Any, Callable[..., Any]] = {
    convolution.conv1d: _conv(1),
    convolution.conv2d: _conv(2),
    convolution.conv3d: _conv(3),
    pooling.max_pool2d: _max_pool,
    pooling.avg_pool2d: _avg_pool,
}


def explain(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """Say what a call would do; nothing is computed, copied or allocated.

    Parameters
    ----------
    function : callable
        conv1d, conv2d, conv3d, max_pool2d, avg_pool2d, or a layer such as Conv2d.
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
    layer = function if isinstance(function, Layer) else None
    try:
        known = _READERS.get(function)
    except TypeError:  # no function has no hash
        known = None
    reader = layer.explained if layer is not None else known
    if reader is None:
        names = ", ".join(reader.__name__ for reader in _READERS)
        raise TypeError(
            f"explain takes one of {names} or a layer, got {function!r:.60}"
        )
    call = reader(*args, **kwargs)
    chosen, _ = pick(call.problem, call.backend, call.algorithm, layer is not None)
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
