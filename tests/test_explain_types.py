"""explain() of halves, integers and complex numbers: what runs inside, and what it costs."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import compiled
from pyconv.cli import main
from pyconv.problem import DTYPES, FLOATS
from pyconv.selection import quickest
from tests.cases import CONV_CASES, FLOAT_ALGORITHMS, in_order, normal
from tests.element_types import COMPLEX, HALVES, ORDERS

CONV = {1: pc.conv1d, 2: pc.conv2d, 3: pc.conv3d}
LAYERS = {1: pc.Conv1d, 2: pc.Conv2d, 3: pc.Conv3d}

each_half = pytest.mark.parametrize("dtype", HALVES, ids=str)


def of(told: pc.Explanation, name: str) -> Any:
    """One candidate."""
    return next(one for one in told.candidates if one.name == name)


@each_half
def test_what_runs_inside_is_shown(dtype: Any) -> None:
    for case in CONV_CASES:
        for order in ORDERS:
            x = in_order(normal(case.x, dtype, 1), order)
            w = normal(case.w, dtype, 2)
            options: dict[str, Any] = {**case.options, "algorithm": "widened"}
            layer = LAYERS[case.rank](w, **options)
            called = pc.explain(CONV[case.rank], x, w, **options)
            kept = pc.explain(layer, x)
            for told, keeps in ((called, False), (kept, True)):
                (part,) = told.parts
                inside = part.explanation
                assert part.what == "float32 inside widened"
                assert inside.chosen in FLOAT_ALGORITHMS
                assert inside.problem.dtype == DTYPES["float32"]
                assert inside.problem.n * (part.count - 1) < x.shape[0]
                assert inside.problem.n * part.count >= x.shape[0]
                runs = of(inside, inside.chosen)
                packs = 0 if keeps else runs.pack_us
                outside = of(told, "widened")
                paid = outside.cost_us + (0 if keeps else outside.pack_us)
                assert paid > part.count * runs.cost_us + packs
                assert outside.flops == part.count * runs.flops
                assert inside.chosen in str(told)
            # The compiled plan says which algorithm a layer's weights are packed for.
            plan = compiled.plan(kept.problem, "widened")
            packed_for = kept.parts[0].explanation.chosen
            assert plan.packing.startswith(f"widened for {packed_for}, ")


@each_half
def test_a_layer_is_told_its_own_cost(dtype: Any) -> None:
    differing = 0
    for shape, k in (((1, 64, 14, 14), 64), ((1, 256, 7, 7), 256), ((8, 32, 9, 9), 48)):
        x, w = normal(shape, dtype, 1), normal((k, shape[1], 3, 3), dtype, 2)
        called = pc.explain(pc.conv2d, x, w, padding=1)
        layer = pc.Conv2d(w, padding=1)
        kept = pc.explain(layer, x)
        one = of(called, "widened")
        assert of(kept, "widened") == one.of_layer
        # Free packing leaves more to choose from.
        assert of(kept, "widened").cost_us <= one.cost_us + one.pack_us
        differing += of(kept, "widened").cost_us != one.cost_us
        others = [one for one in called.candidates if one.name != "widened"]
        assert [one for one in kept.candidates if one.name != "widened"] == others
        rounding = of(kept, kept.chosen).rounding
        alike = [one for one in kept.candidates if one.rounding == rounding]
        able = [one for one in alike if one.supported]
        assert kept.chosen == min(able, key=lambda one: one.cost_us).name
        with pc.trace() as calls:
            layer(x)
        assert [call.algorithm for call in calls] == [kept.chosen]
    assert differing > 0


def test_other_detours_are_shown() -> None:
    x = normal((2, 6, 9, 8), np.float16, 1)
    g = normal((2, 4, 7, 6), np.float16, 2)
    y, index = pc.max_pool2d(x, 2, return_indices=True)
    whole = x.astype(np.int32)
    calls: tuple[tuple[Any, ...], ...] = (
        (pc.grad.conv2d_weight, x, (4, 6, 3, 3), g),
        (pc.grad.conv2d_bias, g),
        (pc.im2col, x, 3),
        (pc.avg_pool2d, x, 2),
        (pc.max_pool2d, whole, 2),
        (pc.grad.max_pool2d, y, index, x.shape),
    )
    for function, *given in calls:
        told = pc.explain(function, *given)
        if told.chosen != "widened":
            assert told.parts == ()
            continue
        (part,) = told.parts
        name = "float64" if given[0] is whole else "float32"
        assert part.what == f"{name} inside widened"
        assert part.count == 1
        runs = of(part.explanation, part.explanation.chosen)
        assert of(told, "widened").cost_us > runs.cost_us
        assert part.explanation.chosen in str(told)
    told = pc.explain(pc.grad.conv2d_weight, x, (4, 6, 3, 3), g)
    assert told.chosen == "widened"
    # A norm's gradient first makes the norm, each by a detour of its own.
    told = pc.explain(pc.grad.lp_pool2d, x, y, 2, 2)
    assert [part.what for part in told.parts] == [
        "y, which is not given",
        "float32 inside widened",
    ]


@each_half
def test_phases_show_what_runs_inside(dtype: Any) -> None:
    x, w = normal((1, 8, 9, 8), dtype, 1), normal((8, 5, 4, 4), dtype, 2)
    told = pc.explain(pc.conv_transpose2d, x, w, stride=2, algorithm="widened")
    assert told.chosen == "phases"
    for part in told.parts:
        (inside,) = part.explanation.parts
        assert inside.what == "float32 inside widened"
    nested = told.to_dict()["parts"][0]["explanation"]["parts"][0]["explanation"]
    assert nested["chosen"] in FLOAT_ALGORITHMS
    json.loads(told.to_json())


@pytest.mark.parametrize("dtype", COMPLEX, ids=str)
def test_complex_numbers(dtype: Any) -> None:
    x = normal((1, 16, 20, 20), np.float32, 1).astype(dtype)
    w = normal((24, 16, 3, 3), np.float32, 2).astype(dtype)
    told = pc.explain(pc.conv2d, x, w)
    assert told.chosen == "real_channels"
    (part,) = told.parts
    inside = part.explanation
    assert (inside.problem.c, inside.problem.k) == (32, 48)
    best = quickest(inside.problem, compiled.candidates)
    assert best is not None
    assert inside.chosen == best.name
    # Its weights are built and packed in every call, a layer's too.
    one = of(told, "real_channels")
    assert one.pack_us == 0
    assert one.cost_us > best.cost_us + best.pack_us
    kept = pc.explain(pc.Conv2d(w), x)
    assert kept.parts == told.parts


def test_an_empty_batch() -> None:
    told = pc.explain(
        pc.conv2d,
        np.ones((0, 3, 5, 5), np.float16),
        np.ones((2, 3, 3, 3), np.float16),
        algorithm="widened",
    )
    assert [part.count for part in told.parts] == [1]


def test_what_an_input_gradient_moves_is_of_its_types() -> None:
    x, w = np.ones((1, 4, 5, 6), np.int8), np.ones((4, 3, 2, 2), np.int8)
    told = pc.explain(pc.conv_transpose2d, x, w, stride=2)
    assert told.compulsory_bytes == x.nbytes + w.nbytes + 4 * 3 * 10 * 12
    x, w = x.astype(np.float16), w.astype(np.float16)
    told = pc.explain(pc.conv_transpose2d, x, w, np.ones(3, np.float32), stride=2)
    assert told.compulsory_bytes == x.nbytes + w.nbytes + 4 * 3 + 2 * 3 * 10 * 12


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("command", "takes"),
    [
        ("conv2d --weight 8,4,3,3", DTYPES),
        ("conv_transpose2d --weight 4,8,3,3 --stride 2", DTYPES),
        ("max_pool2d --kernel-size 2", [*FLOATS, *(n for n in DTYPES if "int" in n)]),
        ("avg_pool2d --kernel-size 2", FLOATS),
        ("grad.conv2d_weight --weight 8,4,3,3", FLOATS),
        ("col2im --kernel-size 3", FLOATS),
    ],
)
def test_command_line_takes_what_the_operation_takes(
    command: str, takes: Any, dtype: str, capsys: Any
) -> None:
    name, *options = command.split()
    line = ["explain", name, "--input", "1,4,9,8", "--dtype", dtype, *options]
    status = main(line)
    printed = capsys.readouterr()
    if dtype in takes:
        assert status == 0, printed.err
        assert f"{name.removeprefix('grad.')}" in printed.out
    else:
        assert status == 2
        assert "supported are" in printed.err
        assert printed.err.count("\n") == 1


def test_command_line_shows_what_runs_inside(capsys: Any) -> None:
    line = ["explain", "conv2d", "--input", "1,4,9,8", "--weight", "8,4,3,3"]
    assert main([*line, "--dtype", "float16", "--algorithm", "widened"]) == 0
    assert "1 x float32 inside widened:" in capsys.readouterr().out


def test_command_line_without_ml_dtypes(
    capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ml_dtypes", None)
    line = ["explain", "conv2d", "--input", "1,4,9,8", "--weight", "8,4,3,3"]
    assert main([*line, "--dtype", "bfloat16"]) == 2
    told = capsys.readouterr().err
    assert "ml_dtypes" in told
    assert told.count("\n") == 1
