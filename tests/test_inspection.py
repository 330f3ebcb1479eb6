"""explain(), trace(), info(), the command line, and the cache of repeated calls."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from tests import oracle
from tests.cases import (
    CONV_CASES,
    OF_OTHER_TYPES,
    ConvCase,
    ids,
    in_order,
    nearest,
    normal,
)

F32 = np.float32
CONV = {1: pc.conv1d, 2: pc.conv2d, 3: pc.conv3d}
CONV_NAMES = list(pc.algorithms("conv"))
POOL_NAMES = list(pc.algorithms("pool"))


def arrays() -> tuple[Any, Any]:
    return normal((2, 4, 8, 8), F32, 1), normal((6, 4, 3, 3), F32, 2)


# explain --------------------------------------------------------------------------


def test_explain_lists_the_registry() -> None:
    x, w = arrays()
    told = pc.explain(pc.conv2d, x, w, padding=1)
    assert [candidate.name for candidate in told.candidates] == CONV_NAMES
    assert told.chosen in CONV_NAMES
    for candidate in told.candidates:
        assert candidate.summary
        assert candidate.reason == "" or candidate.name != "reference"
        if not candidate.reason:
            assert candidate.cost_us > 0
            assert candidate.workspace_bytes >= 0
    text = str(told)
    for name in CONV_NAMES:
        assert name in text
    for pool in (pc.max_pool2d, pc.avg_pool2d):
        told = pc.explain(pool, x, 2)
        assert [candidate.name for candidate in told.candidates] == POOL_NAMES
        assert told.chosen in POOL_NAMES


def test_explain_chooses_the_cheapest_and_the_call_takes_it() -> None:
    for case in CONV_CASES:
        x, w = normal(case.x, F32, 1), normal(case.w, F32, 2)
        for order in ("first", "last"):
            view = in_order(x, order)
            told = pc.explain(CONV[case.rank], view, w, **case.options)
            chosen = next(c for c in told.candidates if c.name == told.chosen)
            able = [
                c
                for c in told.candidates
                if not c.reason and c.rounding == chosen.rounding != "reference"
            ]
            assert told.chosen == min(able, key=lambda c: c.cost_us + c.pack_us).name
            with pc.trace() as calls:
                CONV[case.rank](view, w, **case.options)
            assert [call.algorithm for call in calls] == [told.chosen]


def test_explain_of_a_named_algorithm() -> None:
    x, w = arrays()
    for name in CONV_NAMES:
        if name in OF_OTHER_TYPES:
            with pytest.raises(pc.UnsupportedAlgorithm, match=name):
                pc.explain(pc.conv2d, x, w, algorithm=name)
            continue
        if name == "fft" and importlib.util.find_spec("scipy") is None:
            continue
        x_part, w_part, groups = nearest(name, x, w)
        options: dict[str, Any] = {"groups": groups, "algorithm": name}
        assert pc.explain(pc.conv2d, x_part, w_part, **options).chosen == name
    with pytest.raises(ValueError, match="algorithm"):
        pc.explain(pc.conv2d, x, w, algorithm="fastest")


def test_explain_runs_nothing() -> None:
    out = np.full((2, 6, 6, 6), 7, F32)
    pc.explain(pc.conv2d, *arrays(), out=out)
    assert (out == 7).all()
    before = _core.output_pool()
    large = np.broadcast_to(np.float32(1), (1, 1, 4000, 4000))
    pc.explain(pc.max_pool2d, large, 2)
    assert _core.output_pool() == before
    pc.max_pool2d(large, 2)  # which would have shown
    assert _core.output_pool() != before


def test_explain_refuses_what_the_call_refuses() -> None:
    x, w = arrays()
    with pytest.raises(ValueError, match="stride"):
        pc.explain(pc.conv2d, x, w, stride=0)
    with pytest.raises(TypeError):
        pc.explain(pc.conv2d, x.tolist(), w)
    for odd in (np.add, 3, "conv2d"):
        with pytest.raises((TypeError, ValueError)):
            pc.explain(odd, x, w)  # type: ignore[arg-type]


def test_compulsory_bytes_by_hand() -> None:
    # x 2*4*8*8, w 6*4*3*3, bias 6, y 2*6*6*6, of 4 bytes each.
    x, w = arrays()
    told = pc.explain(pc.conv2d, x, w)
    assert told.compulsory_bytes == 4 * (512 + 216 + 432)
    told = pc.explain(pc.conv2d, x, w, normal((6,), F32))
    assert told.compulsory_bytes == 4 * (512 + 216 + 6 + 432)
    told = pc.explain(pc.conv2d, x.astype(float), w.astype(float))
    assert told.compulsory_bytes == 8 * (512 + 216 + 432)
    # 2 * products: 432 outputs of 4*3*3 products.
    assert told.problem.flops == 2 * 432 * 36
    assert pc.explain(pc.max_pool2d, x, 2).compulsory_bytes == 4 * (512 + 128)


@pytest.mark.parametrize("case", CONV_CASES, ids=ids(CONV_CASES))
def test_predictions_are_sound(case: ConvCase) -> None:
    x, w = normal(case.x, F32, 1), normal(case.w, F32, 2)
    told = pc.explain(CONV[case.rank], x, w, **case.options)
    for candidate in told.candidates:
        if candidate.reason:
            continue
        moved = candidate.bytes
        assert moved["l1"] >= moved["l2"] >= moved["dram"] > 0, candidate.name
        assert candidate.flops > 0


# trace ----------------------------------------------------------------------------


def test_trace_sees_every_call_and_its_bytes() -> None:
    x, w = arrays()
    pc.conv2d(x, w)
    with pc.trace() as calls:
        for _ in range(3):
            pc.conv2d(x, w)
        pc.max_pool2d(x, 2)
        pc.avg_pool2d(x, 2)
    assert len(calls) == 5
    assert [call.operation for call in calls] == ["conv2d"] * 3 + [
        "max_pool2d",
        "avg_pool2d",
    ]
    assert all(not call.events for call in calls)
    pc.conv2d(x, w)
    assert len(calls) == 5, "a call after the trace was recorded"


def test_trace_records_copies_with_their_bytes() -> None:
    x, w = arrays()
    raw = np.zeros(x.nbytes + 1, np.uint8)
    misaligned = raw[1:].view(F32).reshape(x.shape)
    swapped = w.astype(w.dtype.newbyteorder())
    with pc.trace() as calls:
        pc.conv2d(misaligned, w)
        pc.conv2d(x, swapped)
        pc.conv2d(x, w.astype(float))
        pc.conv2d(x[:, :, ::-1, ::2], w)
    for call, (name, count) in zip(
        calls,
        [("x", x.nbytes), ("weight", w.nbytes), ("x", 2 * x.nbytes)],
        strict=False,
    ):
        assert [(event.argument, event.bytes) for event in call.events] == [
            (name, count)
        ]
        assert call.events[0].reason
    assert not calls[3].events, "strides are no reason to copy"
    residual = normal((2, 6, 6, 6), F32)
    with pc.trace() as calls:
        pc.conv2d(x, w, residual=in_order(residual, "last"))
    assert [event.bytes for event in calls[0].events] == [residual.nbytes]


def test_traces_nest() -> None:
    x, w = arrays()
    with pc.trace() as outer:
        pc.conv2d(x, w)
        with pc.trace() as inner:
            pc.conv2d(x, w)
        pc.conv2d(x, w)
    assert (len(outer), len(inner)) == (3, 1)
    with pytest.raises(RuntimeError, match="mine"), pc.trace() as outer:
        raise RuntimeError("mine")
    pc.conv2d(x, w)
    assert len(outer) == 0


# info and the command line --------------------------------------------------------


def test_info() -> None:
    told = str(pc.info())
    assert pc.__version__ in told
    assert _core.active_isa() in told
    assert "cuda" in told.lower()


def command(*arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "pyconv", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def test_command_line() -> None:
    assert pc.__version__ in command("info")
    call = ("explain", "conv2d", "--input", "1,64,56,56", "--weight")
    told = command(*call, "64,64,3,3", "--padding", "1")
    for name in CONV_NAMES:
        assert name in told
    assert "explain" in command("--help")
    command("nonsense", code=2)
    command(*call, "64,63,3,3", code=2)


def test_warmup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels of a call, and of a transposed one's phases, lie in the cache then."""
    pytest.importorskip("cupy", reason="compiling CUDA kernels needs CuPy")
    monkeypatch.setenv("PYCONV_CACHE_DIR", str(tmp_path))
    shapes = ("--input", "1,8,9,9", "--weight", "8,4,1,1", "--arch", "sm_90")
    call = ("warmup", "conv_transpose2d", *shapes, "--algorithm", "naive")
    assert "conv naive" in command(*call)
    assert len(list(tmp_path.glob("cubin/*.cubin"))) == 1
    assert "was there" in command(*call)
    wrong = command("warmup", "conv2d", *shapes[:4], "--arch", "gfx9", code=2)
    assert "sm_90" in wrong
    assert "--input" in command("warmup", "conv2d", "--arch", "sm_90", code=2)


# the cache of calls ---------------------------------------------------------------


@pytest.mark.usefixtures("fast_path")
def test_repeated_calls_hit() -> None:
    x, w = arrays()
    first = pc.conv2d(x, w, None, 1, ((1, 0), (0, 1)), activation="relu")
    hits = _core.fast_path_info()["hits"]
    for _ in range(10):
        y = pc.conv2d(x, w, None, 1, ((1, 0), (0, 1)), activation="relu")
        np.testing.assert_array_equal(y, first)
        assert y is not first
    assert _core.fast_path_info()["hits"] == hits + 10
    # Contents and addresses are no part of the key, shapes are.
    y = pc.conv2d(-x, w, None, 1, ((1, 0), (0, 1)), activation="relu")
    assert _core.fast_path_info()["hits"] == hits + 11
    assert not np.array_equal(y, first)
    pc.conv2d(x[:, :, 1:], w, None, 1, ((1, 0), (0, 1)), activation="relu")
    assert _core.fast_path_info()["hits"] == hits + 11
    pc.max_pool2d(x, 2)
    hits = _core.fast_path_info()["hits"]
    np.testing.assert_array_equal(pc.max_pool2d(x, 2), oracle.max_pool(x, 2)[0])
    assert _core.fast_path_info()["hits"] == hits + 1


@pytest.mark.usefixtures("fast_path")
def test_a_hit_is_exact_about_everything() -> None:
    """Variants that differ in one thing, in turn, each against its own answer."""
    x, w = arrays()
    bias, y_shape = normal((6,), F32, 3), (2, 6, 6, 6)
    swapped = x.astype(x.dtype.newbyteorder())
    variants: list[dict[str, Any]] = [
        {},
        {"bias": bias},
        {"activation": "relu"},
        {"activation": "tanh"},
        {"residual": normal(y_shape, F32, 4)},
        {"stride": 2},
        {"stride": (1, 2)},
        {"padding": 2, "padding_mode": "reflect"},
        {"padding": 2, "padding_mode": "circular"},
        {"padding": "same"},
        {"padding": ((0, 1), (2, 0))},
        {"dilation": 2},
    ]
    for _ in range(3):
        for options in variants:
            for view in (x, in_order(x, "last"), x[:, :, ::-1], swapped):
                answer = oracle.conv(view.astype(F32), w, **options)
                assert answer.worst(pc.conv2d(view, w, **options)) <= 1, options
        assert pc.conv2d(x.astype(float), w).dtype == np.float64
        assert pc.conv2d(x[0], w).shape == y_shape[1:]
    with pytest.raises(ValueError, match="residual"):
        pc.conv2d(x, w, residual=normal((1, *y_shape[1:]), F32))


@pytest.mark.usefixtures("fast_path")
def test_a_hit_checks_out() -> None:
    x, w = arrays()
    out = np.empty((2, 6, 6, 6), F32)
    for _ in range(3):
        assert pc.conv2d(x, w, out=out) is out
    np.testing.assert_array_equal(out, pc.conv2d(x, w))
    out.flags.writeable = False
    with pytest.raises(ValueError, match="out"):
        pc.conv2d(x, w, out=out)
    # Same shapes and strides, but this one lies in x.
    block = np.zeros(2 * x.size + out.size, F32)
    inside = block[: x.size].reshape(x.shape)
    with pytest.raises(ValueError, match="out"):
        pc.conv2d(inside, w, out=block[8 : 8 + out.size].reshape(out.shape))


@pytest.mark.usefixtures("fast_path")
def test_the_cache_is_bounded() -> None:
    w = normal((1, 1, 1, 1), F32)
    for width in range(1, 1500):
        pc.conv2d(np.ones((1, 1, 1, width), F32), w)
    info = _core.fast_path_info()
    assert 0 < info["entries"] <= info["limit"] <= 4096
    _core.clear_fast_path()
    assert _core.fast_path_info()["entries"] == 0


@pytest.mark.usefixtures("fast_path")
def test_arrays_are_not_kept_alive() -> None:
    x, w = arrays()
    before = sys.getrefcount(x), sys.getrefcount(w)
    for _ in range(5):
        pc.conv2d(x, w)
        pc.max_pool2d(x, 2)
    assert (sys.getrefcount(x), sys.getrefcount(w)) == before
