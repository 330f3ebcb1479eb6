"""Seeing: what a call would do (explain), and what this machine has (info)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from inspect import signature
from typing import Any

import numpy as np

from pyconv import _core, compiled, real_channels, widened
from pyconv.adjoint import Adjoint
from pyconv.backends import cuda_unavailable, requested_device
from pyconv.layers import Layer
from pyconv.planning import candidates, pick, plan_cache_info
from pyconv.problem import (
    DTYPES,
    POOL_KINDS,
    ConvProblem,
    InputProblem,
    PoolGradProblem,
)
from pyconv.protocols import Candidate, Event, Problem
from pyconv.readers import NAMES, READERS
from pyconv.running import Call
from pyconv.selection import quickest

__all__ = ["Explanation", "Info", "Part", "explain", "info"]


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
    parts : tuple of Part
        Other calls that this one would make, and what runs inside `widened` and
        `real_channels`, if any.
    """

    operation: str
    problem: Problem
    device: str
    chosen: str
    candidates: tuple[Candidate, ...]
    compulsory_bytes: int
    events: tuple[Event, ...]
    parts: tuple[Part, ...] = ()

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
            "parts": [
                {
                    "what": part.what,
                    "count": part.count,
                    "explanation": part.explanation.to_dict(),
                }
                for part in self.parts
            ],
        }

    def to_json(self) -> str:
        """Return JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        problem = self.problem
        given, made = problem.input, problem.output
        if isinstance(problem, InputProblem):  # of the convolution it runs backwards
            given, made = made, given
        lines = [
            (
                f"{self.operation} on {self.device}: input {given} kernel "
                f"{problem.kernel} output {made}, n={problem.n}; "
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
                lines.append(f"{mark} {one.name:<13} refused: {one.reason}")
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
        for part in self.parts:
            lines.append(f"{part.count} x {part.what}:")
            lines += [
                f"  {line}"
                for line in str(part.explanation).splitlines()
                if " refused: " not in line
            ]
        return "\n".join(lines)


@dataclass(frozen=True, slots=True)
class Part:
    """A call that another call makes or hides, and others just like it.

    Parameters
    ----------
    what : str
        What it is for.
    count : int
        How many of them there are.
    explanation : Explanation
        What one of them would do.
    """

    what: str
    count: int
    explanation: Explanation


def _read(
    function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Call | Adjoint:
    """Read a call of a public function or a layer, and copy nothing."""
    if isinstance(function, Layer):
        return function.explained(*args, **kwargs)
    try:
        reader = READERS[function]
    except (KeyError, TypeError):  # no function may have no hash
        names = ", ".join(NAMES)
        raise TypeError(
            f"explain takes one of {names} or a layer, got {function!r:.60}"
        ) from None
    # Public parameters and the reader's have the same names.
    return reader(**signature(function).bind(*args, **kwargs).arguments, dry=True)


def _parts(
    function: Callable[..., Any],
    call: Call,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[Part, ...]:
    """List what a call computes before it starts: a norm that its gradient lacks."""
    problem = call.problem
    if not isinstance(problem, PoolGradProblem) or problem.kind != POOL_KINDS["lp"]:
        return ()
    if call.operands["y"] is not None:
        return ()
    pool = NAMES[function.__name__]
    given = signature(function).bind(*args, **kwargs).arguments
    taken = {name: given[name] for name in signature(pool).parameters if name in given}
    for name in ("algorithm", "out"):  # the gradient's
        taken.pop(name, None)
    return (Part("y, which is not given", 1, explain(pool, **taken)),)


def _explained(call: Call, keeps_weights: bool = False) -> Explanation:
    """Ask every algorithm about one problem."""
    chosen, found = pick(call.problem, call.backend, call.algorithm, keeps_weights)
    return Explanation(
        operation=call.name,
        problem=call.problem,
        device=call.backend.name,
        chosen=chosen.name,
        candidates=found,
        compulsory_bytes=call.problem.compulsory_bytes,
        events=tuple(call.road.events),
        parts=_inside(call, chosen.name, keeps_weights),
    )


def _inside(call: Call, chosen: str, keeps_weights: bool) -> tuple[Part, ...]:
    """Say what runs inside an algorithm that is a detour by way of floats."""
    problem = call.problem
    if call.backend.name != "cpu" or chosen not in (widened.NAME, real_channels.NAME):
        return ()
    problem = problem if problem.n > 0 else replace(problem, n=1)
    count = 1
    if chosen == real_channels.NAME:
        assert isinstance(problem, ConvProblem)
        inner, keeps_weights = real_channels.inner_problem(problem), False
    elif problem.operation == "conv":  # widened some samples at a time
        samples = compiled.plan(problem, chosen).blocking["samples"]
        count = -(-problem.n // samples)
        inner = widened.inner_problem(replace(problem, n=samples))
    else:
        inner = widened.inner_problem(problem)
    best = quickest(inner, compiled.candidates, keeps_weights)
    assert best is not None, "the detour was not refused"
    told = Explanation(
        operation=call.name,
        problem=inner,
        device=call.backend.name,
        chosen=best.name,
        candidates=tuple(compiled.candidates(inner)),
        compulsory_bytes=inner.compulsory_bytes,
        events=(),
    )
    dtype = next(name for name, code in DTYPES.items() if code == inner.dtype)
    return (Part(f"{dtype} inside {chosen}", count, told),)


def _phases(told: list[Explanation]) -> Candidate:
    """Add up what the convolutions of an adjoint's phases would do."""
    chosen = [
        next(one for one in each.candidates if one.name == each.chosen) for each in told
    ]
    roundings = {one.rounding for one in chosen}
    return Candidate(
        name="phases",
        summary="a convolution for every phase of the result's pixels",
        rounding=roundings.pop() if len(roundings) == 1 else "",
        reason="",
        cost_us=sum(one.cost_us for one in chosen),
        pack_us=sum(one.pack_us for one in chosen),
        workspace_bytes=max(one.workspace_bytes for one in chosen),
        flops=sum(one.flops for one in chosen),
        bytes={
            level: sum(one.bytes[level] for one in chosen)
            for level in ("l1", "l2", "dram")
        },
    )


def _explained_adjoint(read: Adjoint) -> Explanation:
    """Ask about every phase, and about the whole where that may be taken."""
    whole = read.whole(dry=True)
    if read.may_be_whole and not read.is_cut:
        return _explained(whole)  # asked for by name: no phase has such an algorithm
    calls = [phase.read(read.rank, dry=True) for phase in read.phases]
    told = [_explained(call) for call in calls]
    found: tuple[Candidate, ...] = (_phases(told),)
    chosen = "phases"
    if read.may_be_whole:
        found = (*candidates(whole.problem, whole.backend), *found)
        choice = whole.choose()
        chosen = choice.candidate.name if read.takes(choice) else chosen
    alike: dict[Any, list[Explanation]] = {}
    for one in told:
        kind = (one.problem.kernel, one.problem.output, one.chosen)
        alike.setdefault(kind, []).append(one)
    events = whole.road.events
    if chosen == "phases":
        events = [event for one in told for event in one.events]
    return Explanation(
        operation=whole.name,
        problem=whole.problem,
        device=calls[0].backend.name,
        chosen=chosen,
        candidates=found,
        compulsory_bytes=whole.problem.compulsory_bytes,
        events=tuple(events),
        parts=tuple(Part("phase", len(group), group[0]) for group in alike.values()),
    )


def explain(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Explanation:
    """Say what a call would do; nothing is computed, copied or allocated.

    Parameters
    ----------
    function : callable
        A convolution, transposed or not, a pooling, one of their gradients, an unpooling,
        im2col, col2im, or a layer such as Conv2d.
    *args, **kwargs
        Its arguments; only shapes, dtypes and strides of arrays matter.

    Returns
    -------
    Explanation
        Every algorithm with its estimated cost, predicted bytes and workspace, or the
        reason it is refused; the one that would run. Prints as a table. Of transposed
        convolutions and input gradients "phases" stands for the convolutions in `parts`,
        where phases of one kernel, output and choice are listed once. Where `widened` or
        `real_channels` is chosen, `parts` has the float algorithms that it may run, and
        the one that it does. A layer is told what it costs with its weights packed.

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
    if isinstance(call, Adjoint):
        return _explained_adjoint(call)
    told = _explained(call, keeps_weights=isinstance(function, Layer))
    return replace(told, parts=_parts(function, call, args, kwargs) + told.parts)


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
