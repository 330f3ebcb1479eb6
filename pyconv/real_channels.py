"""Complex numbers as channels: one real convolution with twice the channels and filters.

(a + ib) (c + id) = (ac - bd) + i (ad + bc): real and imaginary parts of x become
channels of their own, and a filter becomes two, with the signs in its weights. Four real
products for each complex one, as its definition has, by the quickest real algorithm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv import _core, compiled
from pyconv.problem import DTYPES, ConvProblem
from pyconv.protocols import Candidate
from pyconv.selection import quickest

__all__ = [
    "NAME",
    "OPERATIONS",
    "SUMMARY",
    "RealPlan",
    "candidate",
    "inner_problem",
    "plan",
]

NAME = "real_channels"
SUMMARY = "real and imaginary parts as channels of one real convolution"
OPERATIONS = ("conv",)

# Parting or joining one complex number, by NumPy, in nanoseconds: measured from L3.
ELEMENT_NS = 2.0
CALL_US = 40.0

Array = NDArray[Any]

_REAL = {DTYPES["complex64"]: "float32", DTYPES["complex128"]: "float64"}


def _pitches(channels: int, extents: tuple[int, int, int], last: bool) -> Any:
    """Pitches of (n, c, d, h, w) without gaps, channels last or first."""
    d, h, w = extents
    if last:
        return (channels * d * h * w, 1, h * w * channels, w * channels, channels)
    return (channels * d * h * w, d * h * w, h * w, w, 1)


def _is_last(problem: ConvProblem) -> bool:
    """Whether x's channels lie closer together than its pixels."""
    return abs(problem.x_pitch[1]) < abs(problem.x_pitch[4])


def inner_problem(problem: ConvProblem) -> ConvProblem:
    """Describe the real convolution."""
    code = DTYPES[_REAL[problem.dtype]]
    last = _is_last(problem)
    c, k = 2 * problem.c, 2 * problem.k
    return replace(
        problem,
        dtype=code,
        weight_dtype=code,
        c=c,
        k=k,
        x_pitch=_pitches(c, problem.input, last),
        w_pitch=_pitches(c // problem.groups, problem.kernel, last=False),
        y_pitch=_pitches(k, problem.output, last),
    )


def _elements(problem: ConvProblem) -> int:
    """Count the complex numbers that are parted or joined."""
    x = problem.n * problem.c * prod(problem.input)
    y = problem.n * problem.k * prod(problem.output)
    weight = problem.k * (problem.c // problem.groups) * prod(problem.kernel)
    return x + y * (1 + problem.has_residual) + 2 * weight


def candidate(problem: ConvProblem) -> Candidate:
    """Judge the detour on a problem."""
    reason, inner = "complex64 and complex128 only", None
    if problem.dtype in _REAL:
        inner = quickest(inner_problem(problem), compiled.candidates)
        reason = "" if inner else "no real algorithm can do this"
    if inner is None:
        nothing = dict.fromkeys(("l1", "l2", "dram"), 0)
        return Candidate(NAME, SUMMARY, NAME, reason, 0.0, 0.0, 0, 0, nothing)
    elements = _elements(problem)
    passed = 2 * elements * problem.itemsize
    return Candidate(
        name=NAME,
        summary=SUMMARY,
        rounding=NAME,
        reason="",
        # A layer keeps no weights for it: every call packs.
        cost_us=CALL_US + inner.cost_us + inner.pack_us + elements * ELEMENT_NS / 1e3,
        pack_us=0.0,
        workspace_bytes=inner.workspace_bytes + elements * problem.itemsize,
        flops=inner.flops,
        bytes={level: size + passed for level, size in inner.bytes.items()},
    )


@dataclass(frozen=True)
class RealPlan:
    """A real plan, and the complex problem around it."""

    problem: ConvProblem
    inner: Any
    workspace_bytes: int
    algorithm: str = NAME
    packing: str = ""

    def _empty(self, n: int, channels: int, extents: tuple[int, int, int]) -> Array:
        """Allocate reals (n, 2 channels, *extents) in x's memory order."""
        order = (0, 2, 3, 4, 1) if _is_last(self.problem) else None
        return _core.empty(
            (n, 2 * channels, *extents), order, _REAL[self.problem.dtype]
        )

    def _parted(self, a: Array) -> Array:
        """Lay the real parts of each group's channels before the imaginary ones."""
        n, channels, *extents = a.shape
        target = self._empty(n, channels, (extents[0], extents[1], extents[2]))
        parts = self._halves(target)
        grouped = a.reshape(n, self.problem.groups, -1, *extents)
        parts[:, :, 0] = grouped.real
        parts[:, :, 1] = grouped.imag
        return target

    def _halves(self, a: Array) -> Array:
        """View reals as (n, group, part, channel, *extents); never a copy."""
        n, channels, *extents = a.shape
        groups = self.problem.groups
        steps = a.strides
        half = channels // (2 * groups)
        return np.lib.stride_tricks.as_strided(
            a,
            (n, groups, 2, half, *extents),
            (steps[0], 2 * half * steps[1], half * steps[1], steps[1], *steps[2:]),
        )

    def _filters(self, weight: Array) -> Array:
        """Build the real filters: (re, im) rows of [[re, -im], [im, re]]."""
        k, channels, *kernel = weight.shape
        groups = self.problem.groups
        parts = weight.reshape(groups, k // groups, channels, *kernel)
        real = np.empty(
            (groups, 2, k // groups, 2, channels, *kernel), _REAL[self.problem.dtype]
        )
        real[:, 0, :, 0] = real[:, 1, :, 1] = parts.real
        real[:, 1, :, 0] = parts.imag
        np.negative(parts.imag, out=real[:, 0, :, 1])
        return real.reshape(2 * k, 2 * channels, *kernel)

    def run_conv(
        self, x: Array, weight: Array, bias: Any, residual: Any, y: Array, kept: Any
    ) -> None:
        """Run a convolution on five-axis views."""
        del kept
        problem = self.problem
        if bias is not None:
            per_group = bias.reshape(problem.groups, 1, -1)
            bias = np.concatenate([per_group.real, per_group.imag], 1).reshape(-1)
        real = self._empty(problem.n, problem.k, problem.output)
        _core.conv_run(
            self.inner,
            self._parted(x),
            self._filters(weight),
            bias,
            None if residual is None else self._parted(residual),
            real,
        )
        parts = self._halves(real)
        half = parts.shape[3]
        for group in range(problem.groups):
            target = y[:, group * half : (group + 1) * half]
            target.real = parts[:, group, 0]
            target.imag = parts[:, group, 1]


def plan(problem: ConvProblem) -> RealPlan:
    """Plan a problem that `candidate` took."""
    real = inner_problem(problem)
    inner = quickest(real, compiled.candidates)
    assert inner is not None, "candidate() was not asked"
    return RealPlan(
        problem=problem,
        inner=compiled.plan(real, inner.name),
        workspace_bytes=candidate(problem).workspace_bytes,
    )
