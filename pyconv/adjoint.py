"""The adjoint of a convolution: its input gradient, and transposed convolution.

An output pixel reads input pixels `stride` apart, so the input pixels fall into phases,
h mod stride along each axis. All pixels of one phase receive from the same taps, and what
they receive is a convolution with stride 1: of grad_output, with those taps in reverse,
into every stride-th pixel of the result. All of these are views; no zeros are inserted,
and each phase takes whatever algorithm is quickest for it (3x3 with stride 1 has one
phase, and Winograd). Where all of them round as direct sums, the same sums may be taken
in one piece instead, of algorithms("conv_input"), which stores the phases side by side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from math import gcd, inf
from typing import Any, NamedTuple

import numpy as np

from pyconv.arrays import (
    Array,
    Layout,
    check_array,
    check_out,
    operand_dtypes,
    read_layout,
    result_dtype,
    stored_channels_last,
)
from pyconv.backends import backend_for
from pyconv.cpu import CPU
from pyconv.errors import ShapeError
from pyconv.input_arguments import Geometry, prepare
from pyconv.parameters import Pair, check_size
from pyconv.phases import Phase, Run, direct_cost_us, phases_plan, run_phases
from pyconv.planning import Choice
from pyconv.running import Call, run_input

__all__ = ["Adjoint", "Geometry", "adjoint", "check_channels", "read_adjoint"]

# What takes an adjoint in one piece instead of phase by phase.
_WHOLE = frozenset(name for name, _ in CPU.algorithms("conv_input"))
_WHOLE_DTYPES = ("float32", "float64")


class _Phase(NamedTuple):
    """Every stride-th pixel along one axis, and the convolution that makes them.

    Where no tap reaches them, `taps` is empty.
    """

    pixels: slice  # of the result
    taps: slice  # of the kernel, in reverse
    dilation: int
    source: slice  # of grad_output
    padding: Pair


def _phases(
    outputs: int, extent: int, kernel: int, stride: int, dilation: int, before: int
) -> list[_Phase]:
    """Cut one axis of the result into phases.

    Pixel h = first + stride i receives from tap r what output
    p = (h + before - r dilation) / stride holds, where that is whole: from taps
    r = r0 + step j, and p = i + shift - j spread.
    """
    common = gcd(dilation, stride)
    step, spread = stride // common, dilation // common
    found = []
    for first in range(min(stride, extent)):
        pixels = slice(first, None, stride)
        count = -(-(extent - first) // stride)
        start = next(
            (r for r in range(step) if (first + before - r * dilation) % stride == 0),
            kernel,
        )
        taps = range(start, kernel, step)
        shift = (first + before - start * dilation) // stride
        low = shift - (len(taps) - 1) * spread  # p of pixel 0's first tap in reverse
        high = count - 1 + shift  # p of the last pixel's last
        if not taps or high < 0 or low >= outputs:
            found.append(_Phase(pixels, slice(0, 0), 1, slice(0, 0), (0, 0)))
            continue
        found.append(
            _Phase(
                pixels,
                _reversed(taps),
                spread,
                slice(max(low, 0), min(high + 1, outputs)),
                (max(-low, 0), max(high + 1 - outputs, 0)),
            )
        )
    return found


def _reversed(taps: range) -> slice:
    """Slice the taps from the last to the first."""
    return slice(taps[-1], taps[0] - 1 if taps[0] else None, -taps.step)


def check_channels(x: Array, weight: Array, groups: int, rank: int, name: str) -> None:
    """Refuse a weight that does not take x's channels; `name` is x's."""
    if weight.ndim != rank + 2:
        raise ShapeError(
            f"weight must have {rank + 2} axes, one for filters, one for channels and "
            f"{rank} of the kernel, got shape {weight.shape}"
        )
    if 0 in weight.shape:
        raise ShapeError(f"weight has an empty axis: shape {weight.shape}")
    if x.shape[1] != weight.shape[0]:
        raise ShapeError(
            f"{name} has {x.shape[1]} channels, but weight of shape {weight.shape} "
            f"needs {weight.shape[0]}"
        )
    if weight.shape[0] % groups:
        raise ShapeError(
            f"groups={groups} does not divide weight's first axis, {weight.shape[0]}"
        )


def _turned(weight: Array, groups: int, dry: bool) -> Array:
    """View (K, C/G, *kernel) as (C, K/G, *kernel); a copy where groups need one."""
    if groups == 1:
        return weight.swapaxes(0, 1)
    filters, channels, *kernel = weight.shape
    shape = (groups * channels, filters // groups, *kernel)
    if dry and isinstance(weight, np.ndarray):
        return np.empty(shape, weight.dtype)
    parts = weight.reshape(groups, filters // groups, channels, *kernel)
    return parts.swapaxes(1, 2).reshape(shape)


class Adjoint(NamedTuple):
    """An adjoint, read and cut into its phases.

    `whole` reads it in one piece, given out=; `may_be_whole` says whether that may be
    taken instead of the phases, `is_cut` whether time decides.
    """

    rank: int
    phases: list[Phase]
    whole: Callable[..., Call]
    may_be_whole: bool
    is_cut: bool
    filters: Array
    result: Array
    order: tuple[int, ...] | None

    def takes(self, whole: Choice) -> bool:
        """Whether the whole is taken: where time decides, it is the quicker one."""
        limit = direct_cost_us(self.phases, self.rank) if self.is_cut else inf
        return limit is not None and whole.candidate.cost_us < limit


def read_adjoint(
    operation: str,
    name: str,
    rank: int,
    grad: Array,
    weight: Array,
    geometry: Geometry,
    *,
    bias: Any = None,
    layout: str = "NCHW",
    activation: str | None = None,
    residual: Any = None,
    algorithm: str = "auto",
    accuracy: str = "default",
    out: Any = None,
    dry: bool = False,
) -> Adjoint:
    """Read what each input pixel of a convolution receives from grad_output.

    `operation` is the public function, `name` grad's, for errors. The epilogue is a
    convolution's. With `dry` nothing is copied, and the result's memory never touched.
    """
    axes = read_layout(layout, rank, grad, name)
    dtype = result_dtype(operand_dtypes(grad, weight)[0])
    channels = weight.shape[1] * geometry.groups
    seen = axes.view(grad)
    shape = axes.shape(seen.shape[0], channels, geometry.extents)
    check_size(f"the result for {name} {grad.shape}", shape, dtype.itemsize)
    users = {name: grad, "weight": weight, "bias": bias, "residual": residual}
    if residual is not None and check_array("residual", residual).shape != shape:
        raise ShapeError(
            f"residual must have the result's shape {shape}, got {residual.shape}"
        )
    given = {key: a for key, a in users.items() if a is not None}
    if out is not None:
        check_out(out, shape, dtype, given)
        given["out"] = out
    backend, is_lent = backend_for(list(given.values()))
    here = CPU if is_lent else backend
    order = axes.order(stored_channels_last(seen, axes))
    result = out
    if result is None and dry and here is CPU:
        result = _untouched(shape, order, dtype)
    elif result is None:
        result = here.empty(shape, order, dtype, grad)
    filters = _turned(weight, geometry.groups, dry)
    along = [
        _phases(p, n, k, stride, dilation, pad[0])
        for p, n, k, stride, dilation, pad in zip(
            seen.shape[5 - rank :],
            geometry.extents,
            weight.shape[2:],
            geometry.stride,
            geometry.dilation,
            geometry.padding,
            strict=True,
        )
    ]
    zeros = []
    for one in operand_dtypes(grad, weight):
        zero = here.empty((1,), None, one, grad)
        zero[...] = 0
        zeros.append(zero)
    epilogue = {"bias": bias, "activation": activation, "residual": residual}
    how = {"algorithm": algorithm, "accuracy": accuracy, "groups": geometry.groups}
    phases = [
        _cut_out(
            phase,
            axes,
            grad,
            filters,
            result,
            zeros,
            {**epilogue, "layout": layout},
            how,
        )
        for phase in product(*along)
    ]
    is_cut = max(geometry.stride) > 1 and algorithm == "auto"
    is_ours = backend is CPU and not is_lent and dtype.name in _WHOLE_DTYPES
    whole = partial(
        prepare,
        operation,
        axes,
        grad,
        weight,
        geometry,
        **epilogue,
        algorithm=algorithm,
        accuracy=accuracy,
        out=result,
    )
    may_be_whole = is_ours and (is_cut or algorithm in _WHOLE)
    return Adjoint(rank, phases, whole, may_be_whole, is_cut, filters, result, order)


def _untouched(
    shape: tuple[int, ...], order: tuple[int, ...] | None, dtype: Any
) -> Array:
    """Reserve an array that nothing writes: memory for it is never taken."""
    axes = order or tuple(range(len(shape)))
    stored = np.empty([shape[axis] for axis in axes], dtype)
    return stored.transpose(sorted(range(len(axes)), key=axes.__getitem__))


def adjoint(
    *read: Any,
    remember: Callable[[Any, tuple[int, ...], tuple[int, ...] | None], None],
    remember_runs: Callable[[list[Run], Array, tuple[int, ...] | None], None]
    | None = None,
    **options: Any,
) -> Array:
    """Return what each input pixel of a convolution receives from grad_output.

    Takes read_adjoint()'s arguments. `remember` is given the plan, the result's shape and
    its order in memory, if nothing was copied; `remember_runs` the phases that ran, the
    result and its order, if there is no such plan.
    """
    *_, grad, weight, geometry = read
    taken = read_adjoint(*read, **options)
    result: Array = taken.result
    if 0 in result.shape:  # an empty batch
        return result
    if taken.may_be_whole:
        call = taken.whole()
        choice = call.choose()
        if taken.takes(choice):
            run_input(call, choice)
            if call.may_be_remembered(choice):
                remember(choice.plan, result.shape, taken.order)
            return result
    runs = run_phases(taken.phases, taken.rank)
    plan = phases_plan(runs, grad, weight, taken.filters, geometry.groups, result)
    if plan is not None:
        remember(plan, result.shape, taken.order)
    elif remember_runs is not None:
        remember_runs(runs, result, taken.order)
    return result


def _cut_out(
    along: tuple[_Phase, ...],
    axes: Layout,
    grad: Array,
    filters: Array,
    result: Array,
    zeros: Sequence[Array],
    epilogue: dict[str, Any],
    how: dict[str, Any],
) -> Phase:
    """View what a phase reads and writes; without a tap, the convolution of zeros."""
    pixels = _spatial(axes, tuple(one.pixels for one in along))
    target = result[pixels]
    residual = epilogue["residual"]
    ending = {**epilogue, "residual": None if residual is None else residual[pixels]}
    if any(one.source.stop == 0 for one in along):
        x = np.broadcast_to(zeros[0], _one_channel(axes, target.shape))
        weight = np.broadcast_to(zeros[1], (filters.shape[0], *(1,) * (axes.rank + 1)))
        return Phase(x, weight, target, True, ending)
    window = {
        "padding": tuple(one.padding for one in along),
        "dilation": tuple(one.dilation for one in along),
    }
    x = grad[_spatial(axes, tuple(one.source for one in along))]
    taps = (slice(None), slice(None), *(one.taps for one in along))
    return Phase(x, filters[taps], target, False, {**ending, **how, **window})


def _spatial(axes: Layout, slices: tuple[slice, ...]) -> tuple[Any, ...]:
    """Index an array's spatial axes, in the user's order of axes."""
    if axes.channels_last:
        return (..., *slices, slice(None))
    return (..., *slices)


def _one_channel(axes: Layout, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of an array like a result, with one channel."""
    sizes = list(shape)
    sizes[-1 if axes.channels_last else -1 - axes.rank] = 1
    return tuple(sizes)
