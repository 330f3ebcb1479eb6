"""The model on machines that are not here, and the command line around it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import compiled
from pyconv.cli import main
from pyconv.movement.whatif import Machine, best, gpu, quantity, whatif, with_cores
from pyconv.problem import ConvProblem

CPU = Machine(
    device="cpu",
    flops=2e11,
    rates={"l1": 3e11, "l2": 1e11, "dram": 2e10},
    capacities={"l1": 32 << 10, "l2": 512 << 10, "l3": 32 << 20},
    cores=2,
)


def problem(n: int = 8, c: int = 64, dtype: Any = np.float32) -> ConvProblem:
    x, w = np.empty((n, c, 28, 28), dtype), np.empty((c, c, 3, 3), dtype)
    told = pc.explain(pc.conv2d, x, w, padding=1).problem
    assert isinstance(told, ConvProblem)
    return told


@pytest.mark.parametrize("machine", [CPU, gpu()], ids=["cpu", "cuda"])
def test_every_algorithm_answers_quickest_first(machine: Machine) -> None:
    found = whatif(problem(), machine)
    able = [one for one in found if not one.reason]
    assert [one.us for one in able] == sorted(one.us for one in able)
    assert found[: len(able)] == able
    names = {one.name for one in found}
    if machine.device == "cpu":
        assert names == {name for name, _ in compiled.algorithms("conv")}
    for one in able:
        assert one.flops > 0
        parts = {"flops": one.flops / machine.flops}
        parts |= {
            level: one.bytes[level] / rate for level, rate in machine.rates.items()
        }
        assert parts[one.bound] == max(parts.values())
        assert one.us >= 1e6 * parts[one.bound] * (1 - 1e-12)


@pytest.mark.parametrize("machine", [CPU, gpu()], ids=["cpu", "cuda"])
def test_a_better_machine_is_no_slower(machine: Machine) -> None:
    before = {one.name: one.us for one in whatif(problem(), machine)}
    better = replace(
        machine,
        flops=3 * machine.flops,
        rates={level: 3 * rate for level, rate in machine.rates.items()},
        capacities={level: 3 * size for level, size in machine.capacities.items()},
    )
    after = {one.name: one.us for one in whatif(problem(), better)}
    assert all(after[name] <= us for name, us in before.items())
    assert min(us for us in after.values() if us) < min(
        us for us in before.values() if us
    )


def test_memory_binds_where_there_is_little_of_it() -> None:
    slow = replace(gpu(), rates={**gpu().rates, "dram": 1e9})
    quickest = whatif(problem(), slow)[0]
    assert quickest.bound == "dram"
    small = replace(gpu(), capacities={"l2": 1 << 20})
    for one, whole in zip(
        sorted(whatif(problem(), small), key=lambda each: each.name),
        sorted(whatif(problem(), gpu()), key=lambda each: each.name),
        strict=True,
    ):
        if not one.reason:
            assert one.bytes["dram"] >= whole.bytes["dram"]


def test_caches_of_another_cpu_change_the_bytes() -> None:
    tiny = replace(CPU, capacities={"l1": 4 << 10, "l2": 16 << 10, "l3": 64 << 10})
    there = {one.name: one.bytes for one in whatif(problem(), CPU) if not one.reason}
    here = {one.name: one.bytes for one in whatif(problem(), tiny) if not one.reason}
    assert here["direct"]["dram"] > there["direct"]["dram"]


def test_doubles_take_twice_the_arithmetic() -> None:
    floats = {one.name: one for one in whatif(problem(), CPU)}
    doubles = {one.name: one for one in whatif(problem(dtype=np.float64), CPU)}
    for name in ("im2col", "implicit_gemm", "direct"):
        assert doubles[name].us > 1.5 * floats[name].us


def test_cores_bring_their_caches_but_no_memory() -> None:
    wide = with_cores(CPU, 8)
    assert wide.flops == 4 * CPU.flops
    assert wide.rates["l1"] == 4 * CPU.rates["l1"]
    assert wide.rates["l2"] == 4 * CPU.rates["l2"]
    assert wide.rates["dram"] == CPU.rates["dram"]
    assert wide.capacities == {**CPU.capacities, "l3": 4 * CPU.capacities["l3"]}


def test_best_is_the_first_but_never_the_definition() -> None:
    (found,) = best([problem()], CPU)
    assert found is not None
    assert found.name == whatif(problem(), CPU)[0].name
    (none,) = best([problem()], CPU, skip=pc.algorithms("conv"))
    assert none is None


@pytest.mark.parametrize(
    ("text", "unit", "value"),
    [
        ("50MB", "B", 50e6),
        ("32KiB", "B", 32768),
        ("4.8TB/s", "B/s", 4.8e12),
        ("67 TFLOP/s", "FLOP/s", 67e12),
        ("67T", "FLOP/s", 67e12),
        ("67TFLOP/s", "B/s", None),
        ("4.8TB", "B/s", None),
        ("1.5e", "B", None),
        ("-3MB", "B", None),
        ("0", "B", None),
        ("MB", "B", None),
        ("3Zi", "B", None),
    ],
)
def test_quantities(text: str, unit: str, value: float | None) -> None:
    if value is not None:
        assert quantity(text, unit) == value
        return
    with pytest.raises(ValueError, match="no amount"):
        quantity(text, unit)


# the command line -----------------------------------------------------------------

WORDS = "n1 c8 h14 k8 r3 p1"


def test_whatif_prints_a_machine_and_a_table(capsys: Any) -> None:
    line = ["whatif", WORDS, "--device", "cuda", "--l2", "50MB"]
    line += ["--bandwidth", "4.8TB/s", "--peak", "67TFLOP/s"]
    assert main(line) == 0
    told = capsys.readouterr().out
    assert told.startswith("cuda: 6.7e+04 GFLOP/s, l1 ")
    assert "dram 4800 GB/s, l2 holds 50 MB" in told
    assert "implicit_gemm" in told
    assert main([*line, "--json"]) == 0
    (data,) = json.loads(capsys.readouterr().out)
    assert data["outlook"][0]["us"] > 0


def test_whatif_draws_a_map(capsys: Any) -> None:
    line = ["whatif", "n1 h14 g4", "--map", "--cores", "64", "--l3", "256MiB"]
    assert main(line) == 0
    told = capsys.readouterr().out
    assert "c=k=1024" in told
    assert "15x15" in told
    assert main([*line, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert len(data["quickest"]) == len(data["kernels"])
    assert len(data["quickest"][0]) == len(data["channels"])


def test_explain_and_profile_take_words_and_names(capsys: Any) -> None:
    assert main(["explain", WORDS]) == 0
    assert "conv2d on cpu" in capsys.readouterr().out
    assert main(["explain", "--layer", "lenet5", "--batch", "2"]) == 0
    told = capsys.readouterr().out
    assert told.count("n=2;") == 3
    assert "lenet5.c3" in told
    assert main(["profile", WORDS, "--seconds", "0.01"]) == 0
    assert "measured" in capsys.readouterr().out
    line = ["profile", "grad.max_pool2d", "--input", "1,2,8,8", "--kernel-size", "2"]
    assert main([*line, "--seconds", "0.01", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warm"]["median_us"] > 0
    for layout, shape in (("NCHW", "1,2,4,4"), ("NHWC", "1,4,4,2")):
        line = ["profile", "max_unpool2d", "--input", shape, "--kernel-size", "2"]
        assert main([*line, "--layout", layout, "--seconds", "0.01"]) == 0
        capsys.readouterr()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["explain", "conv4d"], "no operation is called 'conv4d'"),
        (["explain", "n1 c3 z3"], "'z' in the problem"),
        (["explain", WORDS, "--layer", "lenet5"], "one of them is enough"),
        (["explain"], "a problem is needed"),
        (["explain", WORDS, "--stride", "2"], "--stride is of an operation"),
        (["explain", "--layer", "lenet5", "--input", "1,2"], "--input is of an"),
        (["explain", "max_pool2d", "--input", "1,2,8,8", "--batch", "2"], "of a layer"),
        (["profile", "n1 c3 h2 k3 r5"], "kernel"),
        (["whatif", WORDS, "--device", "cuda", "--cores", "4"], "no option of"),
        (["whatif", WORDS, "--cores", "0"], "at least 1"),
        (["whatif", WORDS, "--map"], "chooses its c, k, r and p"),
        (["whatif", "--layer", "lenet5", "--map"], "chooses its c, k, r and p"),
        (["whatif", "conv2d", "--map"], "chooses its c, k, r and p"),
        (["whatif", WORDS, "--l1-bandwidth", "1TB/s"], "no option of"),
    ],
)
def test_mistakes_are_one_line(line: list[str], words: str, capsys: Any) -> None:
    assert main(line) == 2
    told = capsys.readouterr().err
    assert words in told
    assert told.count("\n") == 1
