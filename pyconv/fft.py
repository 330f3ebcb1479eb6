"""Convolution through the FFT, for kernels too large to sum directly.

The one algorithm that is not ours: SciPy's pocketfft does the transforms, and without
SciPy it is refused. Everything is done in float64, whatever the arrays' type, so that
the result is off by little more than its own rounding. An FFT spreads an Inf or NaN over
the whole sample: a result that comes out not finite is computed again directly.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pyconv import _core, compiled
from pyconv.problem import ACTIVATIONS, DTYPES, PADDING_MODES, ConvProblem
from pyconv.protocols import Candidate

__all__ = ["NAME", "OPERATIONS", "SUMMARY", "FftPlan", "candidate", "plan"]

NAME = "fft"
SUMMARY = "products of spectra in float64, by SciPy's pocketfft"
OPERATIONS = ("conv",)

# One butterfly stage of one real element, measured with pocketfft on one core.
STAGE_NS = 0.55
# One complex multiply-add of two spectra, memory included.
PRODUCT_NS = 1.6
CALL_US = 120.0
LARGEST_BYTES = 4 * 10**9

Array = NDArray[Any]


@lru_cache(maxsize=1)
def _has_scipy() -> bool:
    """Look for SciPy without importing it."""
    return importlib.util.find_spec("scipy") is not None


def _spans(problem: ConvProblem) -> tuple[int, int, int]:
    """Extents of the padded input: what is transformed, before rounding up."""
    a, b, c = (
        n + before + after
        for n, before, after in zip(
            problem.input, problem.pad_before, problem.pad_after, strict=True
        )
    )
    return a, b, c


def _spectra_bytes(problem: ConvProblem) -> int:
    """Bytes of the spectra of one sample, its filters and its outputs."""
    per_group = problem.c // problem.groups
    planes = problem.c + problem.k * per_group + problem.k
    return planes * math.prod(_spans(problem)) * 8


def candidate(problem: ConvProblem) -> Candidate:
    """Judge the FFT on a problem."""
    size = _spectra_bytes(problem)
    reason = ""
    if not _has_scipy():
        reason = "SciPy is not installed"
    elif problem.dtype not in (DTYPES["float32"], DTYPES["float64"]):
        reason = "float32 and float64 only"
    elif problem.accuracy == 0:
        reason = "accuracy='strict' allows direct sums only"
    elif size > LARGEST_BYTES:
        reason = f"the spectra would take {size / 1e6:.0f} MB, more than 4000 allowed"
    elements = math.prod(_spans(problem))
    stages = math.log2(max(elements, 2))
    per_group = problem.c // problem.groups
    transforms = problem.n * (problem.c + problem.k) + problem.k * per_group
    transform_ns = transforms * elements * stages * STAGE_NS
    product_ns = problem.n * problem.k * per_group * elements * PRODUCT_NS
    moved = problem.compulsory_bytes + 2 * problem.n * size
    return Candidate(
        name=NAME,
        summary=SUMMARY,
        rounding="fft",
        reason=reason,
        cost_us=0.0 if reason else CALL_US + (transform_ns + product_ns) / 1e3,
        pack_us=0.0,
        workspace_bytes=0 if reason else size,
        flops=0 if reason else int(transforms * elements * stages * 2.5),
        bytes=dict.fromkeys(("l1", "l2", "dram"), 0 if reason else moved),
    )


def _padded(x: Array, problem: ConvProblem) -> Array:
    """X in float64 with its padding made real."""
    modes = {"zeros": "constant", "replicate": "edge", "circular": "wrap"}
    word = next(w for w, code in PADDING_MODES.items() if code == problem.padding_mode)
    pads = tuple(zip(problem.pad_before, problem.pad_after, strict=True))
    mode: Any = modes.get(word, word)
    return np.pad(x.astype(np.float64), ((0, 0), (0, 0), *pads), mode=mode)


def _activations() -> dict[int, Callable[[Array], Array]]:
    """Return the activations in float64, by code."""
    from scipy import special  # noqa: PLC0415 - only where the FFT runs

    by_name: dict[str, Callable[[Array], Array]] = {
        "relu": lambda z: np.where(z < 0, 0, z),
        "relu6": lambda z: np.clip(z, 0, 6),
        "leaky_relu": lambda z: np.where(z < 0, 0.01 * z, z),
        "sigmoid": special.expit,
        "tanh": np.tanh,
        "gelu": lambda z: z * special.ndtr(z),
        "silu": lambda z: z * special.expit(z),
    }
    return {ACTIVATIONS[name]: function for name, function in by_name.items()}


def _sums(x: Array, weight: Array, problem: ConvProblem) -> Array:
    """Correlate by spectra: (N, K, *output) in float64."""
    from scipy import fft  # noqa: PLC0415 - only where the FFT runs

    axes = (2, 3, 4)
    spans = _spans(problem)
    sizes = tuple(fft.next_fast_len(span, real=True) for span in spans)
    workers = _core.get_num_threads()
    spread = np.zeros(
        (
            *weight.shape[:2],
            *(
                d * (r - 1) + 1
                for d, r in zip(problem.dilation, problem.kernel, strict=True)
            ),
        )
    )
    taps = (slice(None),) * 2 + tuple(slice(None, None, d) for d in problem.dilation)
    spread[taps] = weight
    of_x = fft.rfftn(_padded(x, problem), sizes, axes, workers=workers)
    of_w = fft.rfftn(spread, sizes, axes, workers=workers).conj()
    n, groups = problem.n, problem.groups
    of_x = of_x.reshape(n, groups, -1, *of_x.shape[2:])
    of_w = of_w.reshape(groups, -1, *of_w.shape[1:])
    product = np.einsum("ngcxyz,gkcxyz->ngkxyz", of_x, of_w)
    whole = fft.irfftn(
        product.reshape(n, problem.k, *product.shape[3:]), sizes, axes, workers=workers
    )
    cut = (slice(None),) * 2 + tuple(
        slice(0, (out - 1) * step + 1, step)
        for out, step in zip(problem.output, problem.stride, strict=True)
    )
    sums: Array = whole[cut]
    return sums


@dataclass(frozen=True)
class FftPlan:
    """A planned FFT, and the direct plan for what does not come out finite."""

    problem: ConvProblem
    direct: _core.ConvPlan
    workspace_bytes: int
    algorithm: str = NAME
    packing: str = ""

    def run_conv(
        self, x: Array, weight: Array, bias: Any, residual: Any, y: Array, kept: Any
    ) -> None:
        """Run a convolution on five-axis views."""
        del kept
        problem = self.problem
        value = _sums(x, weight, problem)
        if not np.isfinite(value).all():
            _core.conv_run(self.direct, x, weight, bias, residual, y)
            return
        if bias is not None:
            value += bias[:, None, None, None]
        if residual is not None:
            value += residual
        if problem.activation:
            value = _activations()[problem.activation](value)
        y[...] = value


def plan(problem: ConvProblem) -> FftPlan:
    """Plan a problem that `candidate` took."""
    direct = compiled.plan(problem, "direct")
    return FftPlan(problem, direct, _spectra_bytes(problem))
