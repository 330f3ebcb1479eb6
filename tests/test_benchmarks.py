"""The suites: their data, the quick runs, the JSON and the tables. Never a time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from benchmarks import measuring, networks, readme, standing, suites, timing
from benchmarks.oracle import PEER_SLACK
from benchmarks.peers import MAKERS, Prepared
from pyconv.movement.layers import Layer, square

ROOT = Path(__file__).resolve().parent.parent

INSTANT = measuring.Budget(rounds=1, turn_seconds=0.0, rest_seconds=0.0)


@pytest.mark.parametrize("suite", suites.SUITES.values(), ids=lambda suite: suite.name)
def test_a_suite_is_whole(suite: suites.Suite) -> None:
    assert len({layer.id for layer in suite.layers}) == len(suite.layers)
    assert all(min(layer.y_shape) > 0 for layer in suite.layers)
    assert set(suite.peers) <= set(MAKERS)
    for goal in suite.goals:
        assert set(goal.peers) <= set(suite.peers)
        assert set(goal.ours) <= set(suite.contenders)
    if suite.name not in ("filters", "odd"):
        assert {layer.n for layer in suite.layers} == set(suites.BATCHES)
        shapes = Counter(layer.with_batch(1) for layer in suite.layers)
        assert set(shapes.values()) == {len(suites.BATCHES)}


def test_the_3x3_suite_leaves_no_layer_out() -> None:
    found = {(layer.network, layer.c, layer.k) for layer in suites.SUITES["3x3"].layers}
    for network in ("vgg16", "resnet50", "unet", "alphago"):
        for layer in suites.PUBLISHED[network]:
            wide = min(layer.c, layer.k) >= 64 and layer.groups == 1
            if wide and layer.kernel == (3, 3) and layer.stride == (1, 1):
                assert (network, layer.c, layer.k) in found


@pytest.mark.parametrize(
    "layer",
    [layer for layer in suites.SUITES["odd"].layers if layer.flops < 2e8],
    ids=lambda layer: layer.id,
)
def test_every_own_contender_computes_odd_layers(layer: Layer) -> None:
    contenders, missing = measuring.roster(
        (*suites.LAYER, *suites.REUSED, *suites.FUNCTION), pc.get_num_threads()
    )
    assert not missing
    record = measuring.measure_layer(layer, contenders, INSTANT)
    assert not measuring.faults([record])
    for fact in record["contenders"].values():
        assert fact["error_over_bound"] <= PEER_SLACK
        assert fact["seconds"]["calls"] >= 1
        assert fact["algorithm"] in pc.algorithms("conv")


class Wrong:
    """A contender that misses one element, or all."""

    name = "pyconv-wrong"
    version = "0"
    memory = "nchw"

    def __init__(self, everywhere: bool) -> None:
        self.everywhere = everywhere

    def supports(self, layer: Layer) -> str:
        assert layer.rank == 2
        return ""

    def prepare(self, layer: Layer, x: Any, w: Any, b: Any) -> Prepared:
        y = pc.conv2d(x, w, b, padding=layer.padding)
        y[0, 2, 4, 3] += 1
        if self.everywhere:
            y += 1
        return Prepared(run=lambda: y, output=lambda: y)


@pytest.mark.parametrize("everywhere", [False, True])
def test_who_is_wrong_is_not_timed(everywhere: bool) -> None:
    right = measuring.roster(suites.LAYER, pc.get_num_threads())[0]
    layer = square("tiny", "wide", 3, 5, 40, 3, pad=1)
    contenders = {**right, "pyconv-wrong": Wrong(everywhere)}
    record = measuring.measure_layer(layer, contenders, INSTANT)
    assert "seconds" not in record["contenders"]["pyconv-wrong"]
    (sentence,) = measuring.faults([record])
    assert "pyconv-wrong" in sentence
    assert "seconds" in record["contenders"][suites.LAYER[0]]


def test_a_failure_does_not_end_the_run() -> None:
    contenders = measuring.roster(suites.LAYER, pc.get_num_threads())[0]
    broken = Wrong(everywhere=False)
    layer = square("tiny", "narrow", 3, 2, 3, 3)  # has no place for the wrong element
    record = measuring.measure_layer(layer, {"x-broken": broken, **contenders}, INSTANT)
    (sentence,) = measuring.faults([record])
    assert sentence.startswith("x-broken")
    assert "IndexError" in sentence
    assert all("seconds" in record["contenders"][name] for name in suites.LAYER)


@pytest.mark.parametrize("net", networks.NETWORKS, ids=lambda net: net.id)
def test_a_network_fits_together(net: networks.Network) -> None:
    shapes = {name: x.shape for name, x in net.inputs().items()}
    for step in net.steps:
        assert shapes[step.x] == step.layer.x_shape
        if step.residual is not None:
            assert shapes[step.residual] == step.layer.y_shape
        shapes[step.y] = step.layer.y_shape
    assert net.outputs()


def test_a_network_runs_its_steps() -> None:
    net = networks.network("lenet5", 2)
    x = net.inputs()["x"]
    for step, weights in zip(net.steps, net.weights(), strict=True):
        if weights is None:
            x = pc.avg_pool2d(x, step.layer.kernel, step.layer.stride)
        else:
            x = np.maximum(pc.conv2d(x, *weights), 0)
    for memory in suites.ORDERS:
        (y,) = networks.through_pyconv(net, memory)()
        assert y.shape == (2, 120, 1, 1)
        assert networks.error([y], [x]) < 1e-5


def test_a_rest_stands_between_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(timing, "rest", lambda _: events.append("rest"))
    calls = {name: (lambda name=name: events.append(name)) for name in "abc"}
    samples = timing.alternate(
        calls,
        rounds=2,
        turn_seconds=0.0,
        families={"a": "one", "b": "one", "c": "two"},
    )
    met = [
        one
        for one, before in zip(events, [None, *events], strict=False)
        if one != before
    ]
    assert met == ["rest", "a", "b", "rest", "c", "rest", "b", "a"]
    assert all(sample.best <= sample.round for sample in samples.values())
    events.clear()
    timing.alternate(calls, rounds=1, turn_seconds=0.0)
    assert events.count("rest") == len(calls)


def record(case: str, **seconds: float) -> dict[str, Any]:
    return {
        "case": case,
        "contenders": {
            name.replace("_", "-"): {"seconds": {"round": value}, "gflops": 1.0}
            for name, value in seconds.items()
        },
    }


RECORDS = [
    record("fast", pyconv_layer_nchw=1, pyconv_layer_nhwc=2, torch_nchw=8, ncnn=4),
    record("slow", pyconv_layer_nchw=4, pyconv_layer_nhwc=2, torch_nchw=2),
    record("alone", pyconv_layer_nchw=1),
]


def test_a_standing_is_best_over_best() -> None:
    found = standing.standing(
        "title", suites.Goal("best peer", suites.PEERS, 1.8, 1.2), RECORDS
    )
    assert found is not None
    assert [(case.name, case.ratio) for case in found.cases] == [
        ("slow", 1),
        ("fast", 4),
    ]
    assert (found.mean, found.least) == (pytest.approx(2), 1)
    assert [case.name for case in found.under] == ["slow"]
    assert found.untimed == ("alone",)
    assert (found.cases[0].ours, found.cases[1].peer) == ("pyconv-layer-nhwc", "ncnn")


def test_the_readme_says_what_the_reports_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readme, "ROOT", tmp_path)
    folder = tmp_path / "benchmarks" / "results" / "some-machine"
    folder.mkdir(parents=True)
    assert "make bench" in readme.performance()
    machine = {
        "cpu": "A processor",
        "cores": 2,
        "isa": "avx2",
        "versions": {"torch": "9.9"},
        "commit": "0123456789abcdef",
    }
    report = {"suites": {"3x3": {"machine": machine, "cases": RECORDS}}}
    (folder / "suites-threads2.json").write_text(json.dumps(report))
    text = readme.performance()
    assert "torch 9.9" in text
    assert "012345678" in text
    assert "| 3x3 stride 1, C and K >= 64 | best peer | 2 | 2.00 | 1.00 |" in text


def run(module: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{module}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_quick_run_of_the_suites(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    out = tmp_path / "suites.json"
    run("bench", "--quick", "--suite", "lenet,3x3,networks", "--out", str(out))
    report = json.loads(out.read_text())
    assert set(report["suites"]) == {"lenet", "3x3", "networks"}
    for name in ("lenet", "3x3"):
        part = report["suites"][name]
        assert part["machine"]["threads"] >= 1
        assert part["machine"]["versions"]
        assert 1 <= len(part["cases"]) <= 2
        for entry in part["cases"]:
            timed = {n for n, f in entry["contenders"].items() if "seconds" in f}
            assert timed >= {*suites.LAYER, *suites.REUSED, *suites.FUNCTION}
            for contender in timed:
                assert entry["contenders"][contender]["error_over_bound"] <= PEER_SLACK
    # One suite again, on one thread: the others stay as they were.
    before = report["suites"]["3x3"]
    run("bench", "--quick", "--suite=lenet", "--threads=1", "--out", str(out))
    report = json.loads(out.read_text())
    assert report["suites"]["3x3"] == before
    assert report["suites"]["lenet"]["machine"]["threads"] == 1
    assert list(tmp_path.iterdir()) == [out]
    table = run("bench", "--table", "--every", "--out", str(out))
    if not report["suites"]["lenet"]["missing"]:
        for entry in report["suites"]["lenet"]["cases"]:
            assert entry["case"] in table


def test_a_quick_run_of_the_selection(tmp_path: Path) -> None:
    pytest.importorskip("rich")
    out = tmp_path / "selection.json"
    printed = run("selection", "--quick", "--suite", "lenet,odd", "--out", str(out))
    report = json.loads(out.read_text())
    assert set(report["suites"]) == {"lenet", "odd"}
    for part in report["suites"].values():
        for entry in part["cases"]:
            assert entry["auto"] in pc.algorithms("conv")
            assert entry["regret"] >= 1
            assert set(entry["algorithms"]) == set(pc.algorithms("conv"))
            best = entry["algorithms"][entry["best"]]
            assert best["measured_us"] > 0
            assert best["predicted_us"] > 0
            for fact in entry["algorithms"].values():
                assert ("measured_us" in fact) != ("not_timed" in fact)
    assert "within 10 %" in printed
    assert run("selection", "--table", "--out", str(out))


def test_an_unknown_suite_is_named() -> None:
    pytest.importorskip("rich")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.bench", "--suite", "nonesuch"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        timeout=60,
    )
    assert done.returncode == 2
    assert "nonesuch" in done.stderr
    assert "3x3" in done.stderr
