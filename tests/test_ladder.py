"""The ladder: every algorithm on one call, and the command line that shows it."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import cuda
from pyconv.cli import main, profiling
from pyconv.movement import ncu
from pyconv.movement.ladder import CHANGES, Ladder
from tests.oracle import Array

PROBLEM = "n1 c4 h9 k4 r3 p1"


@pytest.fixture(scope="module")
def arrays() -> tuple[Array, Array]:
    random = np.random.default_rng(1)
    x = random.standard_normal((1, 8, 12, 12), np.float32)
    return x, random.standard_normal((8, 8, 3, 3), np.float32)


@pytest.fixture(scope="module")
def climbed(arrays: tuple[Array, Array]) -> Ladder:
    return pc.ladder(pc.conv2d, *arrays, padding=1, seconds=0.001)


def test_every_convolution_has_a_sentence() -> None:
    assert set(pc.algorithms("conv")) == set(CHANGES["cpu"])
    assert {name for name, _ in cuda.algorithms("conv")} == set(CHANGES["cuda"])
    for sentences in CHANGES.values():
        for sentence in sentences.values():
            assert re.fullmatch(r"[A-Z][^\n]+\.", sentence)


def test_rungs_go_from_the_definition_up(
    climbed: Ladder, arrays: tuple[Array, Array]
) -> None:
    told = pc.explain(pc.conv2d, *arrays, padding=1)
    assert climbed.chosen == told.chosen
    assert {rung.name: rung.reason for rung in climbed.rungs} == {
        one.name: one.reason for one in told.candidates
    }
    names = [rung.name for rung in climbed.ran]
    assert names[:3] == ["reference", "reordered", "cache_tiled"]
    assert names.index("winograd_staged") < names.index("winograd")


def test_a_rung_tells_what_its_algorithm_did(climbed: Ladder) -> None:
    for rung in climbed.ran:
        told = rung.profile
        assert told is not None
        assert told.explanation.chosen == rung.name
        assert rung.peak_share == pytest.approx(
            told.predicted_flops
            / told.warm.median_us
            / 1e-6
            / told.ceilings.flops["float32"]
        )
    text = str(climbed)
    for rung in climbed.rungs:
        assert f" {rung.name} " in text
    assert text.count("left out: ") == len(climbed.rungs) - len(climbed.ran)


def test_it_saves_what_it_shows_and_no_candidate_twice(climbed: Ladder) -> None:
    data = json.loads(climbed.to_json())
    assert [one["name"] for one in data["rungs"]] == [r.name for r in climbed.rungs]
    assert data["ceilings"]["device"] == data["device"] == "cpu"
    first = data["rungs"][0]
    assert first["levels"][0]["level"] == "l1"
    assert "explanation" not in first
    assert len(climbed.to_json()) < 60_000


def test_what_would_take_too_long_is_left_out(arrays: tuple[Array, Array]) -> None:
    short = pc.ladder(pc.conv2d, *arrays, padding=1, seconds=0.001, most_seconds=1.5e-5)
    assert "expects" in short.rungs[0].reason
    assert short.rungs[0].profile is None
    assert short.ran


@pytest.mark.parametrize(
    ("function", "given"),
    [
        (pc.max_pool2d, {"kernel_size": 2}),
        (pc.conv_transpose2d, {"stride": 2}),
        (pc.conv_transpose2d, {"stride": 1}),
    ],
    ids=["pool", "transposed", "transposed-dense"],
)
def test_other_operations_have_ladders(
    function: Any, given: dict[str, Any], arrays: tuple[Array, Array]
) -> None:
    x, weight = arrays
    operands = (x,) if function is pc.max_pool2d else (x, weight)
    told = pc.ladder(function, *operands, seconds=0.001, **given)
    assert told.chosen in [rung.name for rung in told.ran]


def test_bad_calls_raise_what_the_call_raises(arrays: tuple[Array, Array]) -> None:
    with pytest.raises(pc.ShapeError):
        pc.ladder(pc.conv2d, arrays[0][:, :3], arrays[1])


def test_what_has_no_algorithms_has_no_ladder(arrays: tuple[Array, Array]) -> None:
    x, weight = arrays
    with pytest.raises(TypeError, match="im2col has no algorithms"):
        pc.ladder(pc.im2col, x, 3)
    with pytest.raises(TypeError, match="Conv2d has no algorithms"):
        pc.ladder(pc.Conv2d(weight), x)


def test_integers_are_held_against_their_own_peak(
    arrays: tuple[Array, Array],
) -> None:
    x, weight = ((100 * one).astype(np.int32) for one in arrays)
    told = pc.profile(pc.conv2d, x, weight, seconds=0.001)
    rate = told.ceilings.flops["int32"]
    assert told.flops_us == pytest.approx(told.predicted_flops / rate * 1e6)


def test_no_share_of_a_peak_that_was_not_measured(
    arrays: tuple[Array, Array], isa: Any
) -> None:
    isa("baseline")  # multiplies no bytes in groups
    x, weight = ((100 * one).astype(np.int8) for one in arrays)
    told = pc.profile(pc.conv2d, x, weight, seconds=0.001)
    assert told.flops_us is None
    assert told.bound in {"l1", "l2", "dram"}
    assert json.loads(told.to_json())["flops_us"] is None
    steps = pc.ladder(pc.conv2d, x, weight, seconds=0.001)
    assert {rung.peak_share for rung in steps.ran} == {None}
    assert " % " not in str(steps)


# ---- the command line ---------------------------------------------------------------


def test_bench_prints_a_ladder(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", PROBLEM, "--seconds", "0.001"]) == 0
    out = capsys.readouterr().out
    assert "GFLOP/s" in out
    assert CHANGES["cpu"]["reordered"] in out
    assert main(["bench", PROBLEM, "--seconds", "0.001", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["name"] == PROBLEM
    assert data["rungs"][1]["name"] == "reordered"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bench", PROBLEM, "--algorithm", "direct"], "bench runs every algorithm"),
        (["bench", "n1 c4 h9 k4 q3"], "'q' in the problem"),
        (["profile", PROBLEM, "--device", "cuda"], "the CUDA backend cannot run here"),
        (["bench", PROBLEM, "--ncu"], "the CUDA backend cannot run here"),
    ],
    ids=["algorithm", "typo", "device", "ncu"],
)
def test_what_cannot_be_done_is_one_sentence(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if "CUDA" in said and not cuda.availability():
        pytest.skip("there is a GPU")
    assert main(words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def launch(kernel: str, number: int) -> ncu.Launch:
    return ncu.Launch(kernel, 1.0, number, number, number, number, 50.0, 0.0)


@pytest.fixture
def borrowed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The CPU in the GPU's place; what was marked after."""
    marks: list[str] = []
    measuring = SimpleNamespace(mark=lambda: marks.append("mark"))
    backend = SimpleNamespace(measuring=measuring, to_device=lambda a: a)
    monkeypatch.setattr(profiling, "cuda_backend", lambda: backend)
    real = pc.ceilings
    monkeypatch.setattr(pc, "ceilings", lambda **_: real())
    return marks


def test_every_call_takes_what_ncu_counted_of_it(
    borrowed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[list[str]] = []

    def count(program: list[str]) -> list[list[ncu.Launch]]:
        asked.append(program)
        assert main([*program[3:]]) == 0  # what the other process does
        return [
            [launch("pyconv_a", n), launch("pyconv_b", 1)]
            for n in range(len(borrowed) // 2)  # a mark before and one after
        ]

    monkeypatch.setattr(ncu, "count", count)
    assert main(["bench", PROBLEM, "--ncu", "--json", "--seconds", "0.001"]) == 0
    data = json.loads(capsys.readouterr().out)
    able = [rung["name"] for rung in data["rungs"] if not rung["reason"]]
    assert len(borrowed) == 2 * len(able)
    for rung in data["rungs"]:
        if not rung["reason"]:
            expected = able.index(rung["name"]) + 1
            assert rung["measured_flops"]["value"] == expected
            assert rung["levels"][2]["measured"]["value"] == expected
            assert [one["kernel"] for one in rung["launches"]] == [
                "pyconv_a",
                "pyconv_b",
            ]
    assert "--once" in asked[0]
    assert "--ncu" not in asked[0]
    assert main(["profile", PROBLEM, "--ncu", "--seconds", "0.001"]) == 0
    assert "pyconv_b: 1 us alone from empty caches, FMA pipe 50 %" in (
        capsys.readouterr().out
    )


def test_why_ncu_counted_nothing_is_told(
    borrowed: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    del borrowed

    def count(program: list[str]) -> list[list[ncu.Launch]]:
        raise RuntimeError(f"{program[2]} may not count")

    monkeypatch.setattr(ncu, "count", count)
    for command in ("profile", "bench"):
        words = [command, PROBLEM, "--ncu", "--seconds", "0.001", "--json"]
        assert main(words) == 0
        assert '"reason": "pyconv may not count"' in capsys.readouterr().out


def in_terminal(*words: str, output: Any = None, error: Any = None) -> str:
    """What a command prints to a terminal of its own, or its errors are."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "pyconv", *words],
        stdout=output or slave,
        stderr=error or slave,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "300"},
        cwd=Path(__file__).parent.parent,
    ) as running:
        os.close(slave)
        parts = []
        while True:
            try:
                part = os.read(master, 65536)
            except OSError:  # the terminal's other end was closed
                break
            if not part:
                break
            parts.append(part)
        running.wait()
    os.close(master)
    return b"".join(parts).decode().replace("\r\n", "\n")


def test_a_terminal_shows_the_same_text_in_colours() -> None:
    pytest.importorskip("rich")
    shown = in_terminal("explain", PROBLEM, error=subprocess.DEVNULL)
    assert "\x1b[1;32m> " in shown
    plain = subprocess.run(
        [sys.executable, "-m", "pyconv", "explain", PROBLEM],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parent.parent,
    ).stdout
    assert "\x1b" not in plain
    assert re.sub(r"\x1b\[[0-9;]*m", "", shown) == plain


def test_output_goes_to_its_file_beside_a_terminal(tmp_path: Path) -> None:
    """A bar on the terminal's error output takes nothing from the output."""
    pytest.importorskip("rich")
    for command, more in (("profile", []), ("bench", []), ("profile", ["--json"])):
        path = tmp_path / "output"
        with path.open("w") as output:
            words = (command, PROBLEM, "--seconds", "0.001", *more)
            seen = in_terminal(*words, output=output)
        text = path.read_text()
        assert ("reference" if command == "bench" else "conv2d") in text
        assert "conv2d" not in seen
        assert "\x1b" not in text
        if more:
            assert json.loads(text)["name"] == PROBLEM
            assert "profile" in seen  # the bar


def test_a_closed_pipe_is_no_error() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "pyconv", "explain", "--layer", "resnet50"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parent.parent,
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdout.readline()
        running.stdout.close()
        assert running.stderr.read() == ""
        assert running.wait() == 1
