"""`pytest benchmarks`: options, the roster of contenders, and what each row carries.

`--quick` takes a few small layers and low rounds, to see that everything runs. Figures
worth quoting come from `python -m benchmarks.bench`, where contenders take turns;
pytest-benchmark times one case after the other, with a rest before each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import pyconv as pc
from benchmarks import machine, peers
from benchmarks.contenders import contenders, pool_contenders
from benchmarks.pool_shapes import POOLS
from benchmarks.timing import rest, warm_up
from pyconv.movement.layers import NETWORKS

# Small layers of each kind: square kernel, 1x1, depthwise, one channel, rank 1.
QUICK = ("lenet5-c3", "resnet50-conv5_2", "mobilenet_v2-block14_depth", "image-filter3")


def pytest_addoption(parser: pytest.Parser) -> None:
    """The suite's own options."""
    group = parser.getgroup("pyconv")
    group.addoption("--quick", action="store_true", help="few small layers, low rounds")
    group.addoption(
        "--networks",
        default="all",
        help=f"comma-separated, among {', '.join(NETWORKS)} (default: all)",
    )
    group.addoption("--batch", type=int, default=1, help="images per call (default: 1)")
    group.addoption("--threads", type=int, default=machine.available_cores())
    group.addoption(
        "--limit-ms",
        type=float,
        default=500.0,
        help="skip a pyconv algorithm predicted to take longer (default: 500)",
    )


def chosen_networks(config: pytest.Config) -> list[str]:
    """Names given by --networks."""
    given = str(config.getoption("--networks"))
    names = list(NETWORKS) if given == "all" else given.split(",")
    unknown = sorted(set(names) - set(NETWORKS))
    if unknown:
        raise pytest.UsageError(f"--networks: unknown {', '.join(unknown)}")
    return names


def pytest_configure(config: pytest.Config) -> None:
    """Set the thread count before anything is prepared."""
    pc.set_num_threads(config.getoption("--threads"))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Who takes part, and who is not installed."""
    found, missing = peers.installed(config.getoption("--threads"))
    present = ", ".join(f"{p.name} {p.version}" for p in found.values()) or "none"
    absent = ", ".join(missing) or "none"
    return [f"peers: {present}; not installed: {absent}"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Layers times contenders, leaving out what a peer cannot do by its nature."""
    config = metafunc.config
    quick = bool(config.getoption("--quick"))
    batch = int(config.getoption("--batch"))
    tables: Any = NETWORKS if "layer" in metafunc.fixturenames else POOLS
    layers = [
        layer.with_batch(batch)
        for network in chosen_networks(config)
        for layer in tables.get(network, ())
        if not quick or layer.id.startswith((*QUICK, "lenet5-s", "resnet50-pool1"))
    ]
    if "layer" in metafunc.fixturenames:
        roster = contenders(config.getoption("--threads"))
        pairs = [
            pytest.param(layer, entry, id=f"{layer.id}-{entry.name}")
            for layer in layers
            for entry in roster
            if entry.name.startswith("pyconv") or not entry.supports(layer)
        ]
        metafunc.parametrize(("layer", "contender"), pairs)
    elif "pool_layer" in metafunc.fixturenames:
        threads = int(config.getoption("--threads"))
        pool_pairs = [
            pytest.param(layer, entry, id=f"{layer.id}-{entry.name}")
            for layer in layers
            for entry in pool_contenders(threads)
        ]
        metafunc.parametrize(("pool_layer", "pool"), pool_pairs)


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, Any]
) -> None:
    """The machine, versions and commit go into pytest-benchmark's JSON."""
    del config
    machine_info["pyconv"] = machine.describe()


@pytest.fixture
def measure(
    benchmark: Any, request: pytest.FixtureRequest
) -> Callable[[Callable[[], object], int, dict[str, Any]], None]:
    """Rest, warm up, time, and attach what the row carries."""
    quick = bool(request.config.getoption("--quick"))

    def run(call: Callable[[], object], flops: int, info: dict[str, Any]) -> None:
        rest()
        fastest = warm_up(call, 0.01 if quick else 0.1)
        seconds = 0.02 if quick else 0.3
        # Below 50 us a call, a loop of calls is timed, so that the clock does not show.
        iterations = max(1, int(50e-6 / fastest))
        rounds = int(min(100, max(3 if quick else 5, seconds / fastest / iterations)))
        benchmark.pedantic(call, rounds=rounds, iterations=iterations)
        benchmark.extra_info.update(info)
        if benchmark.stats is not None:
            median = benchmark.stats.stats.median
            benchmark.extra_info["gflops"] = flops / median / 1e9

    return run
