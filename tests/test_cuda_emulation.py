"""Every CUDA kernel, run on the CPU by the emulator, against float64 NumPy.

Walks pyconv.cuda.KERNELS: a kernel's cases are those it supports. The bound is
gamma_n (|x| conv |w|) with n the length of the sum, plus the epilogue's roundings.
"""

from __future__ import annotations

from ctypes import CDLL
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pyconv.cuda import KERNELS, implicit_gemm, weight_gradient
from pyconv.cuda.kernel import Kernel
from pyconv.cuda.launch import CudaPlan
from tests.emulation import emulator
from tests.emulation.cases import (
    CONV_PAIRS,
    POOL_PAIRS,
    check_conv,
    check_pool,
    conv_arrays,
    conv_plan,
    pair_id,
    plans,
    pool_arrays,
    pool_plan,
)
from tests.emulation.columns_cases import (
    COLUMNS_PAIRS,
    check_columns,
    columns_arrays,
    columns_plan,
    columns_plans,
)
from tests.emulation.elements import (
    chain_bound,
    check_stored,
    guarded,
    guards_are_whole,
)
from tests.emulation.gradient_cases import (
    BIAS_PAIRS,
    POOL_GRAD_PAIRS,
    WEIGHT_PAIRS,
    bias_arrays,
    bias_plan,
    check_bias,
    check_pool_grad,
    check_weight,
    gradient_plans,
    pool_grad_arrays,
    pool_grad_plan,
    weight_arrays,
    weight_plan,
)
from tests.emulation.problems import ConvCase, PoolCase, conv_sum, weight_sum
from tests.emulation.tables import CONV_CASES, SAME

CAUSAL: dict[str, Any] = {"before": (0, 0, 3), "after": (0, 0, 0)}
CONV_KERNELS = [one.name for one in KERNELS if one.operation == "conv"]

pytestmark = pytest.mark.skipif(
    emulator.compiler() is None, reason="the emulator needs g++"
)


@pytest.fixture(scope="module", params=[32, 64])
def library(request: pytest.FixtureRequest, tmp_path_factory: Any) -> CDLL:
    """Compile all kernels of this file for the host, once for each index width."""
    directory: Path = tmp_path_factory.mktemp("emulator")
    # The wide build differs in one type only: every fourth instance will do.
    chosen = [*plans(), *gradient_plans(), *columns_plans()][
        :: 4 if request.param == 64 else 1
    ]
    return emulator.build(chosen, directory, request.param)


def _in(library: CDLL, plan: CudaPlan) -> bool:
    """Whether a library holds a plan's instances."""
    names = (emulator.launch_name(plan, launch) for launch in plan.launches)
    return all(hasattr(library, name) for name in names)


@pytest.mark.parametrize(("kernel", "case"), CONV_PAIRS, ids=pair_id)
def test_conv_matches_float64(library: CDLL, kernel: Kernel, case: ConvCase) -> None:
    plan = conv_plan(kernel, case)
    assert plan is not None
    if not _in(library, plan):
        return
    arrays = tuple(map(guarded, conv_arrays(case)))
    emulator.run(library, plan, *arrays, seed=3)
    check_conv(case, arrays, kernel.rounding)
    assert guards_are_whole(arrays[-1])


@pytest.mark.parametrize(("kernel", "case"), POOL_PAIRS, ids=pair_id)
def test_pool_matches_float64(library: CDLL, kernel: Kernel, case: PoolCase) -> None:
    x, y, indices = map(guarded, pool_arrays(case))
    plan = pool_plan(kernel, case)
    assert plan is not None
    if not _in(library, plan):
        return
    emulator.run(library, plan, x, y, indices if case.kind == 0 else None)
    check_pool(case, x, y, indices)
    assert guards_are_whole(y)


@pytest.mark.parametrize(("kernel", "case"), WEIGHT_PAIRS, ids=pair_id)
def test_weight_gradient_matches_float64(
    library: CDLL, kernel: Kernel, case: ConvCase
) -> None:
    x, grad, weight = map(guarded, weight_arrays(case))
    plan = weight_plan(kernel, case)
    assert plan is not None
    if not _in(library, plan):
        return
    emulator.run(library, plan, x, grad, weight)
    check_weight(case, x, grad, weight)
    assert guards_are_whole(weight)


@pytest.mark.parametrize("tile", weight_gradient.WEIGHT_TILES, ids=pair_id)
def test_every_tile_of_the_weight_gradient(
    tile: implicit_gemm.GemmTile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with pixels enough for several parts, and a last one that is short."""
    monkeypatch.setattr(weight_gradient, "_tile", lambda _: tile)
    kernel = weight_gradient.WEIGHT_GEMM
    cases = [
        ConvCase("parts", (1, 15, 23), (1, 3, 3), n=2, c=5, k=19, **SAME),
        ConvCase("last", (1, 20, 31), (1, 2, 2), c=6, k=4, groups=2, memory="last"),
    ]
    plans_ = [weight_plan(kernel, case) for case in cases]
    library = emulator.build([*filter(None, plans_)], tmp_path, 32)
    for case, plan in zip(cases, plans_, strict=True):
        assert plan is not None
        assert plan.launch.tile["block_m"] == tile.block_m
        assert plan.launch.tile["parts"] == 3
        x, grad, weight = map(guarded, weight_arrays(case))
        emulator.run(library, plan, x, grad, weight)
        check_weight(case, x, grad, weight)
        assert guards_are_whole(weight)


@pytest.mark.parametrize("name", ["naive", "implicit_gemm"])
@pytest.mark.parametrize("memory", ["first", "last"])
def test_padding_adds_nothing_to_infinite_gradients(
    name: str, memory: str, tmp_path: Path
) -> None:
    """A gradient of the first row meets padding at the taps of the row above."""
    kernel = next(
        one for one in KERNELS if (one.operation, one.name) == ("conv_weight", name)
    )
    case = ConvCase("padded", (1, 18, 19), (1, 3, 3), memory=memory, **SAME)
    plan = weight_plan(kernel, case)
    assert plan is not None
    x, grad, weight = weight_arrays(case)
    grad[:, :, :, 0] = np.inf
    library = emulator.build([plan], tmp_path, 32)
    emulator.run(library, plan, x, grad, weight)
    assert np.isfinite(weight[:, :, :, 0]).all()
    assert not np.isfinite(weight[:, :, :, 1:]).any()
    grad[:, :, :, 0] = 0
    above = np.s_[:, :, :, 0]
    scale = weight_sum(case, abs(x), abs(grad))[above]
    bound = chain_bound(case.dtype, 18 * 19 + 1, scale)
    check_stored(case.dtype, weight[above], weight_sum(case, x, grad)[above], bound)


@pytest.mark.parametrize(("kernel", "case"), BIAS_PAIRS, ids=pair_id)
def test_bias_gradient_matches_float64(
    library: CDLL, kernel: Kernel, case: ConvCase
) -> None:
    grad, _ = bias_arrays(case)
    padded = np.full(case.k + 2, 7, case.dtype)
    plan = bias_plan(kernel, case)
    assert plan is not None
    if not _in(library, plan):
        return
    emulator.run(library, plan, grad, padded[1:-1])
    check_bias(grad, padded[1:-1])
    assert padded[0] == padded[-1] == 7


@pytest.mark.parametrize(("kernel", "case"), POOL_GRAD_PAIRS, ids=pair_id)
def test_pool_gradient_matches_float64(
    library: CDLL, kernel: Kernel, case: PoolCase
) -> None:
    arrays = tuple(map(guarded, pool_grad_arrays(case)))
    plan = pool_grad_plan(kernel, case)
    assert plan is not None
    if not _in(library, plan):
        return
    grad, indices, *others = arrays
    places = indices if case.kind == 0 else None
    emulator.run(library, plan, grad, places, *others)
    check_pool_grad(case, arrays)
    assert guards_are_whole(arrays[-1])


@pytest.mark.parametrize(("kernel", "case"), COLUMNS_PAIRS, ids=pair_id)
def test_columns_match_float64(library: CDLL, kernel: Kernel, case: ConvCase) -> None:
    source, target = map(guarded, columns_arrays(kernel, case))
    plan = columns_plan(kernel, case)
    assert plan is not None
    if not _in(library, plan):
        return
    emulator.run(library, plan, source, target)
    check_columns(kernel, case, source, target)
    assert guards_are_whole(target)


@pytest.mark.parametrize("tile", implicit_gemm.TILES, ids=pair_id)
def test_every_tile_of_the_implicit_gemm(
    tile: implicit_gemm.GemmTile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table's shapes are small, and take small tiles; and tiles round alike."""
    kernel = implicit_gemm.IMPLICIT_GEMM
    names = ("three_by_three", "channels_last", "grouped")
    cases = [case for case in CONV_CASES if case.name in names]
    usual = [conv_plan(kernel, case) for case in cases]
    monkeypatch.setattr(implicit_gemm, "_tile", lambda _: tile)
    plans_ = [conv_plan(kernel, case) for case in cases]
    library = emulator.build([*filter(None, (*usual, *plans_))], tmp_path, 32)
    for case, one, other in zip(cases, usual, plans_, strict=True):
        assert one is not None
        assert other is not None
        assert other.launch.tile["block_m"] == tile.block_m
        arrays, again = tuple(map(guarded, conv_arrays(case))), conv_arrays(case)
        emulator.run(library, other, *arrays)
        check_conv(case, arrays)
        assert guards_are_whole(arrays[-1])
        emulator.run(library, one, *again)
        np.testing.assert_array_equal(again[-1], arrays[-1])


ALIKE = (
    ConvCase("plain", (1, 7, 9), (1, 3, 3), n=2, c=20, k=9, bias=True, **SAME),
    ConvCase("depthwise", (1, 9, 11), (1, 3, 3), c=4, k=4, groups=4, **SAME),
    ConvCase("last", (1, 7, 9), (1, 3, 2), c=12, k=8, memory="last", **SAME),
)


@pytest.mark.parametrize("case", ALIKE, ids=pair_id)
def test_what_rounds_alike_agrees_bit_for_bit(case: ConvCase, tmp_path: Path) -> None:
    """Only then may the batch and the memory order decide between kernels."""
    kernels = [one for one in KERNELS if one.operation == "conv"]
    taken = {one: plan for one in kernels if (plan := conv_plan(one, case))}
    library = emulator.build(taken.values(), tmp_path, 32)
    found: dict[str, Any] = {}
    for kernel, plan in taken.items():
        arrays = conv_arrays(case)
        emulator.run(library, plan, *arrays)
        first = found.setdefault(kernel.rounding, arrays[-1])
        np.testing.assert_array_equal(first, arrays[-1], kernel.name)
    assert {"direct", "channels"} <= found.keys()


DEPTHWISE: dict[str, Any] = {"c": 4, "k": 4, "groups": 4, **SAME}
PADDED = (
    ConvCase("padded", (1, 9, 10), (1, 3, 3), **SAME),
    ConvCase("padded_depthwise", (1, 9, 10), (1, 3, 3), **DEPTHWISE),
    ConvCase("padded_last", (1, 9, 10), (1, 3, 3), memory="last", **DEPTHWISE),
)


@pytest.mark.parametrize("name", CONV_KERNELS)
def test_padding_adds_nothing_to_infinite_weights(name: str, tmp_path: Path) -> None:
    """Zero times infinity would be NaN: only outputs whose window is whole have it."""
    kernel = next(one for one in KERNELS if (one.operation, one.name) == ("conv", name))
    taken = [(case, plan) for case in PADDED if (plan := conv_plan(kernel, case))]
    library = emulator.build([plan for _, plan in taken], tmp_path, 32)
    for case, plan in taken:
        x, weight, bias, residual, y = conv_arrays(case)
        weight[:, :, :, 0] = np.inf  # the row above: of the first outputs, padding
        emulator.run(library, plan, x, weight, bias, residual, y)
        assert np.isfinite(y[:, :, :, 0]).all()
        assert not np.isfinite(y[:, :, :, 1:]).any()
        weight[:, :, :, 0] = 0
        exact, scale = conv_sum(case, x, weight), conv_sum(case, abs(x), abs(weight))
        first = np.s_[:, :, :, 0]
        bound = chain_bound(case.dtype, 27, scale[first])
        check_stored(case.dtype, y[first], exact[first], bound)
    assert taken


MISALIGNED = (
    ConvCase("first", (1, 9, 16), (1, 3, 3), bias=True, **DEPTHWISE),
    ConvCase("last", (1, 9, 16), (1, 3, 3), bias=True, memory="last", **DEPTHWISE),
    ConvCase("row", (1, 1, 32), (1, 1, 4), bias=True, **{**DEPTHWISE, **CAUSAL}),
)


@pytest.mark.parametrize("name", CONV_KERNELS)
def test_arrays_may_begin_anywhere(name: str, tmp_path: Path) -> None:
    """No vector is loaded or stored where the first element is not aligned."""
    kernel = next(one for one in KERNELS if (one.operation, one.name) == ("conv", name))
    taken = [(case, plan) for case in MISALIGNED if (plan := conv_plan(kernel, case))]
    library = emulator.build([plan for _, plan in taken], tmp_path, 32)
    for case, plan in taken:
        for shift in (0, 1):
            arrays = tuple(guarded(a, shift) for a in conv_arrays(case))
            emulator.run(library, plan, *arrays)
            check_conv(case, arrays, kernel.rounding)
            assert guards_are_whole(arrays[-1])
