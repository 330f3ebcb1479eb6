"""explain() of gradients, unpooling and patches: what the call itself then does."""

from __future__ import annotations

import json
import resource
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv.cli import main
from pyconv.readers import NAMES
from tests.cases import Array, in_order, normal

F32 = np.float32
SPATIAL = (7, 6, 5)


def arrays(rank: int, order: str) -> tuple[Array, Array, Array, Array]:
    """X, w and what convolving and pooling them gives."""
    spatial = SPATIAL[3 - rank :]
    x = in_order(normal((2, 4, *spatial), F32, 1), order)
    w = normal((6, 4, *(2,) * rank), F32, 2)
    y = getattr(pc, f"conv{rank}d")(x, w)
    pooled, indices = getattr(pc, f"max_pool{rank}d")(x, 2, return_indices=True)
    return x, y, pooled, indices


def calls(rank: int, order: str) -> dict[str, tuple[Any, ...]]:
    """Arguments of every function of one rank, by its name below pyconv."""
    x, y, pooled, indices = arrays(rank, order)
    size = (6, 4, *(2,) * rank)
    return {
        f"grad.conv{rank}d_weight": (x, size, y),
        f"grad.conv{rank}d_bias": (y,),
        f"grad.max_pool{rank}d": (pooled, indices, x.shape),
        f"grad.adaptive_max_pool{rank}d": (pooled, indices, x.shape),
        f"grad.avg_pool{rank}d": (pooled, x.shape, 2),
        f"grad.adaptive_avg_pool{rank}d": (pooled, x.shape),
        f"grad.lp_pool{rank}d": (x, pooled, 2, 2),
        f"max_unpool{rank}d": (pooled, indices, 2, None, 0, x.shape),
    }


def adjoints(rank: int, order: str) -> dict[str, list[dict[str, Any]]]:
    """Arguments of what is made of phases."""
    x, y, _, _ = arrays(rank, order)
    w = normal((6, 4, *(2,) * rank), F32, 2)
    wide = normal((6, 3, *(3,) * rank), F32, 2)
    half = getattr(pc, f"conv{rank}d")(x, w, stride=2, padding=1)
    gradient = {"input_size": x.shape, "weight": w}
    spread = {"x": y, "weight": wide}
    return {
        f"grad.conv{rank}d_input": [
            {**gradient, "grad_output": y},
            {**gradient, "grad_output": y, "algorithm": "im2col"},
            {**gradient, "grad_output": half, "stride": 2, "padding": 1},
        ],
        f"conv_transpose{rank}d": [
            {**spread},
            {**spread, "stride": 2, "padding": 1, "bias": normal((3,), F32)},
            {**spread, "stride": 2, "groups": 2, "activation": "relu"},
            {**spread, "stride": 4, "output_padding": 3},  # some phases without a tap
            {**spread, "stride": 2, "algorithm": "direct"},
        ],
    }


def function(name: str) -> Callable[..., Any]:
    found: Any = pc
    for part in name.split("."):
        found = getattr(found, part)
    return found


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_the_call_does_what_was_told(rank: int, order: str) -> None:
    for name, args in calls(rank, order).items():
        told = pc.explain(function(name), *args)
        with pc.trace() as made:
            function(name)(*args)
        expected = [part.explanation for part in told.parts] + [told]
        assert [call.operation for call in made] == [one.operation for one in expected]
        for call, one in zip(made, expected, strict=True):
            assert call.algorithm == one.chosen
            assert call.compulsory_bytes == one.compulsory_bytes
            assert call.events == one.events, name
            assert one.chosen in str(told)
        assert NAMES[name] is function(name)


@pytest.mark.parametrize("order", ["first", "last"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_an_adjoint_does_what_was_told(rank: int, order: str) -> None:
    for name, cases in adjoints(rank, order).items():
        for given in cases:
            told = pc.explain(function(name), **given)
            with pc.trace() as made:
                function(name)(**given)
            algorithms = Counter(call.algorithm for call in made)
            expected: Counter[str] = Counter()
            for part in told.parts:
                expected[part.explanation.chosen] += part.count
            if told.chosen == "phases":
                assert algorithms == expected, (name, given)
            else:
                assert list(algorithms) == [told.chosen]
                assert made[0].compulsory_bytes == told.compulsory_bytes
            phases = next(one for one in told.candidates if one.name == "phases")
            assert phases.cost_us > 0
            assert [part.what for part in told.parts] == ["phase"] * len(told.parts)
            assert f"{told.parts[0].count} x phase" in str(told)


def test_an_adjoint_shows_its_own_extents() -> None:
    x, w = normal((1, 4, 5, 6), F32), normal((4, 3, 4, 4), F32)
    told = pc.explain(pc.conv_transpose2d, x, w, stride=2, padding=1)
    assert "input (1, 5, 6) kernel (1, 4, 4) output (1, 10, 12)" in str(told)
    assert [part.count for part in told.parts] == [4]
    assert told.compulsory_bytes == x.nbytes + w.nbytes + 4 * 3 * 10 * 12
    assert told.problem.flops == 2 * x.size * 3 * 4 * 4
    with pytest.raises(ValueError, match="output_padding"):
        pc.explain(pc.conv_transpose2d, x, w, stride=2, output_padding=2)


def test_explaining_an_adjoint_takes_no_memory() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    large = np.broadcast_to(np.float32(1), (1, 2, 2**12, 2**12))
    filters = np.broadcast_to(np.float32(1), (2, 2**8, 2, 2))
    for groups in (1, 2):
        told = pc.explain(
            pc.conv_transpose2d,
            large,
            filters[:, : 4 // groups],
            stride=2,
            groups=groups,
        )
        assert told.compulsory_bytes > 2**30
    out = np.full((1, 3, 10, 12), 7, F32)
    x, w = normal((1, 4, 5, 6), F32), normal((4, 3, 4, 4), F32)
    pc.explain(pc.conv_transpose2d, x, w, stride=2, padding=1, out=out)
    assert (out == 7).all()
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 64 * 1024, f"{grown} KiB"


def test_only_a_norm_without_its_result_is_taken_first() -> None:
    x, _, _, _ = arrays(2, "first")
    y = pc.lp_pool2d(x, 3, 2)
    told = pc.explain(pc.grad.lp_pool2d, x, y, 3, 2, padding=0)
    assert [part.explanation.operation for part in told.parts] == ["lp_pool2d"]
    assert told.to_dict()["parts"][0]["explanation"]["chosen"] in str(told)
    assert pc.explain(pc.grad.lp_pool2d, x, y, 3, 2, y=y).parts == ()


def test_copies_are_told() -> None:
    _, _, pooled, indices = arrays(2, "first")
    given = (pooled, indices.astype(np.int32), (2, 4, 6, 5))
    told = pc.explain(pc.grad.max_pool2d, *given)
    assert [event.argument for event in told.events] == ["indices"]
    turned = in_order(indices, "last")
    told = pc.explain(pc.max_unpool2d, pooled, turned, 2)
    assert [event.bytes for event in told.events] == [indices.nbytes]


def test_nothing_runs() -> None:
    x, y, pooled, indices = arrays(2, "first")
    out = np.full((6, 4, 2, 2), 7, F32)
    pc.explain(pc.grad.conv2d_weight, x, out.shape, y, out=out)
    assert (out == 7).all()
    out = np.full((2, 4, 6, 4), 7, F32)
    wrong = indices + 1000  # which only a run would notice
    pc.explain(pc.max_unpool2d, pooled, wrong, 2, output_size=(6, 4), out=out)
    assert (out == 7).all()
    large = np.broadcast_to(np.float32(1), (1, 1, 2**14, 2**14))
    pc.explain(pc.grad.lp_pool2d, large, large, 2, 1)
    pc.explain(pc.grad.conv2d_bias, large)


def test_what_the_call_refuses_is_refused() -> None:
    x, y, pooled, indices = arrays(2, "first")
    with pytest.raises(ValueError, match="weight_size"):
        pc.explain(pc.grad.conv2d_weight, x, (6, 4, 0, 2), y)
    with pytest.raises(ValueError, match="input_size"):
        pc.explain(pc.grad.max_pool2d, pooled, indices, (2, 4))
    with pytest.raises(ValueError, match="algorithm"):
        pc.explain(pc.grad.avg_pool2d, pooled, x.shape, 2, algorithm="fast")
    with pytest.raises(TypeError, match="layer"):
        pc.explain(np.sum, x)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("grad.conv2d_weight --weight 64,32,3,3 --padding 1 --stride 2", "direct"),
        ("grad.conv2d_bias --weight 64,32,3,3", "conv2d_bias"),
        ("grad.max_pool2d --kernel-size 3 --stride 2", "max_pool2d gradient"),
        ("grad.lp_pool2d --kernel-size 2 --norm-type 2", "lp_pool2d gradient"),
        ("grad.avg_pool2d --kernel-size 2 --layout NHWC", "avg_pool2d gradient"),
        ("grad.adaptive_avg_pool2d --output-size 7", "output (1, 7, 7)"),
        ("grad.conv2d_input --weight 64,32,3,3 --padding 1", "1 x phase"),
        (
            "conv_transpose2d --weight 32,16,3,3 --stride 2 --output-padding 1",
            "output (1, 30, 58)",
        ),
        ("max_unpool2d --kernel-size 2", "input (1, 28, 56) kernel"),
        ("im2col --kernel-size 3 --dilation 2", "im2col on cpu"),
        ("col2im --kernel-size 3 --padding 1", "kernel (1, 3, 3) output (1, 14, 28)"),
    ],
)
def test_command_line(command: str, words: str, capsys: Any) -> None:
    name, *options = command.split()
    assert main(["explain", name, "--input", "2,32,14,28", *options]) == 0
    assert words in capsys.readouterr().out
    assert main(["explain", name, "--input", "2,32,14,28", *options, "--json"]) == 0
    assert '"chosen"' in capsys.readouterr().out


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    "command",
    [
        "conv2d --weight 64,32,3,3 --padding 1",
        "grad.conv2d_weight --weight 64,32,3,3 --stride 2",
        "grad.conv2d_bias --weight 64,32,3,3",
        "grad.conv2d_input --weight 64,32,3,3",
        "conv_transpose2d --weight 32,16,3,3 --stride 2",
        "max_unpool2d --kernel-size 2",
        "grad.max_pool2d --kernel-size 3 --stride 2",
        "grad.avg_pool2d --kernel-size 2",
        "grad.lp_pool2d --kernel-size 2 --norm-type 2",
        "grad.adaptive_avg_pool2d --output-size 7",
        "im2col --kernel-size 3 --dilation 2",
        "col2im --kernel-size 3 --padding 1",
    ],
)
def test_command_line_without_a_batch(command: str, layout: str, capsys: Any) -> None:
    name, *options = command.split()
    shape = "32,14,28" if layout == "NCHW" else "14,28,32"
    told = []
    for given in (shape, f"1,{shape}"):
        line = ["explain", name, "--input", given, "--layout", layout, *options]
        assert main([*line, "--json"]) == 0
        told.append(json.loads(capsys.readouterr().out))
    one, batch = (each["problem"] for each in told)
    for key in one.keys() - {"x_pitch", "y_pitch"}:  # along a batch of one, any pitch
        assert one[key] == batch[key], key
    assert told[0]["compulsory_bytes"] == told[1]["compulsory_bytes"]
    assert told[0]["chosen"] == told[1]["chosen"]


@pytest.mark.parametrize("name", ["im2col", "col2im"])
def test_command_line_takes_windows_of_one_axis(name: str, capsys: Any) -> None:
    line = ["explain", name, "--input", "2,3,28", "--kernel-size", "5,"]
    assert main(line) == 0
    assert "input (1, 1, 28) kernel (1, 1, 5) output" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("grad.conv2d_weight", "--weight is needed"),
        ("grad.max_pool2d", "--kernel-size is needed"),
        ("grad.conv2d_bias --weight 4,32,3,3 --kernel-size 2", "no option"),
        ("im2col --kernel-size 3 --groups 2", "no option"),
        ("col2im --kernel-size 3 --output-size 9", "no option"),
        ("grad.avg_pool2d --kernel-size 99", "kernel_size"),
    ],
)
def test_a_wrong_command_is_one_line(command: str, words: str, capsys: Any) -> None:
    name, *options = command.split()
    assert main(["explain", name, "--input", "2,32,14,28", *options]) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
