"""Threads, processes and the memory that outputs come from."""

from __future__ import annotations

import os
import resource
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import pyconv as pc
from pyconv import _core
from tests.cases import normal

# Every child and every new interpreter checks its answer against this problem.
PROBLEM = """if True:
    import os, signal, sys
    import numpy as np
    {before}
    import pyconv as pc
    {after}
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 16, 40, 40)).astype(np.float32)
    w = rng.standard_normal((24, 16, 3, 3)).astype(np.float32)
    signal.alarm(50)  # a deadlock ends the process
    pc.set_num_threads(2)
    expected = pc.conv2d(x, w, padding=1)
"""


def program(body: str, before: str = "", after: str = "") -> str:
    lines = "".join(f"\n    {line}" for line in body.strip("\n").splitlines())
    return PROBLEM.format(before=before, after=after) + lines


FORK = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)  # fork with threads, on purpose
for _ in range(3):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        same = np.array_equal(pc.conv2d(x, w, padding=1), expected)
        pool = pc.max_pool2d(x, 2)
        # And a grandchild.
        inner = os.fork()
        if inner == 0:
            same = np.array_equal(pc.conv2d(x, w, padding=1), expected)
            os._exit(0 if same else 1)
        _, status = os.waitpid(inner, 0)
        os._exit(0 if same and status == 0 else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
    assert np.array_equal(pc.conv2d(x, w, padding=1), expected)
print("fine")
"""

POOL_OF_PROCESSES = """
import multiprocessing, warnings
warnings.simplefilter("ignore", DeprecationWarning)
def work(scale):
    return pc.conv2d(x * np.float32(scale), w, padding=1)
with multiprocessing.get_context("fork").Pool(2) as processes:
    for scale, y in zip((1, 2, 4), processes.map(work, (1, 2, 4))):
        assert np.array_equal(y, expected * scale)
print("fine")
"""

FORK_BESIDE_A_BUSY_THREAD = """
import threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
stop = threading.Event()
def busy():
    while not stop.is_set():
        pc.conv2d(x, w, padding=1)
thread = threading.Thread(target=busy)
thread.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        same = np.array_equal(pc.conv2d(x, w, padding=1), expected)
        os._exit(0 if same else 1)
    _, status = os.waitpid(child, 0)
    assert status == 0, status
stop.set()
thread.join()
print("fine")
"""

ONE_CPU = """
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
assert np.array_equal(pc.conv2d(x, w, padding=1), expected)
print("fine")
"""


@pytest.mark.parametrize(
    "body",
    [FORK, POOL_OF_PROCESSES, FORK_BESIDE_A_BUSY_THREAD, ONE_CPU],
    ids=["fork", "multiprocessing", "fork_beside_a_busy_thread", "one_cpu_later"],
)
def test_in_a_process(body: str, python: Callable[..., str]) -> None:
    assert python(program(body)).strip() == "fine"


def test_one_cpu_from_the_start(python: Callable[..., str]) -> None:
    limit = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})"
    said = python(program("print('fine')", before=limit, after="pc.get_num_threads()"))
    assert said.strip() == "fine"
    code = f"import os; {limit}; import pyconv; print(pyconv.get_num_threads())"
    assert python(code).strip() == "1"


def test_threads_from_the_environment(python: Callable[..., str]) -> None:
    code = "import pyconv; print(pyconv.get_num_threads())"
    assert python(code, PYCONV_NUM_THREADS="3").strip() == "3"
    assert int(python(code, PYCONV_NUM_THREADS="")) >= 1
    refused = """if True:
        import pyconv
        try:
            pyconv.get_num_threads()
        except ValueError as error:
            print("PYCONV_NUM_THREADS" in str(error))
    """
    for odd in ("0", "-2", "many", "99999999999999999999"):
        assert python(refused, PYCONV_NUM_THREADS=odd).strip() == "True"


@pytest.mark.parametrize(
    ("before", "after"),
    [("import torch", ""), ("", "import torch")],
    ids=["before", "after"],
)
def test_beside_torch(before: str, after: str, python: Callable[..., str]) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed")
    body = """
import torch
y = torch.nn.functional.conv2d(torch.from_numpy(x), torch.from_numpy(w), padding=1)
assert np.allclose(y.numpy(), expected, atol=1e-3)
assert np.array_equal(pc.conv2d(x, w, padding=1), expected)
print("fine")
"""
    # PyTorch warns on import on some machines; that is not ours to fail on.
    quiet = "import warnings; warnings.simplefilter('ignore'); "
    code = program(body, quiet + (before or "pass"), quiet + (after or "pass"))
    assert python(code).strip() == "fine"


def test_eight_threads_at_once() -> None:
    w = normal((12, 8, 3, 3), np.float32, 99)
    inputs = [normal((2, 8, 16 + i, 20), np.float32, i) for i in range(8)]
    expected = [(pc.conv2d(x, w), pc.max_pool2d(x, 2)) for x in inputs]
    wrong: list[Any] = []
    gate = threading.Barrier(8)

    def work(i: int) -> None:
        gate.wait()
        try:
            for _ in range(100):
                if not np.array_equal(pc.conv2d(inputs[i], w), expected[i][0]):
                    wrong.append(i)
                if not np.array_equal(pc.max_pool2d(inputs[i], 2), expected[i][1]):
                    wrong.append(i)
        except Exception as error:  # noqa: BLE001
            wrong.append(error)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_eight_threads_change_the_number_of_threads(
    threads: Callable[[int], None],
) -> None:
    x, w = normal((1, 8, 24, 24), np.float32), normal((8, 8, 3, 3), np.float32)
    expected = pc.conv2d(x, w)
    wrong: list[Any] = []

    def work(i: int) -> None:
        for turn in range(40):
            threads(1 + (i + turn) % 4)
            if not np.array_equal(pc.conv2d(x, w), expected):
                wrong.append(i)

    workers = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert wrong == []


def test_set_num_threads(threads: Callable[[int], None]) -> None:
    for count in (1, 2, 5):
        threads(count)
        assert pc.get_num_threads() == count
    for wrong in (0, -1):
        with pytest.raises(ValueError, match="thread"):
            threads(wrong)
    for odd in (1.5, "2", None):
        with pytest.raises(TypeError):
            pc.set_num_threads(odd)  # type: ignore[arg-type]
    assert pc.get_num_threads() == 5


def test_threadpoolctl(threads: Callable[[int], None]) -> None:
    control = pytest.importorskip("threadpoolctl", reason="threadpoolctl is missing")
    threads(4)
    x = normal((1, 8, 24, 24), np.float32)
    y = pc.max_pool2d(x, 2)
    known = {info["user_api"] for info in control.threadpool_info()}
    assert "pyconv" in known
    with control.threadpool_limits(1):
        assert pc.get_num_threads() == 1
        np.testing.assert_array_equal(pc.max_pool2d(x, 2), y)
    assert pc.get_num_threads() == 4


LARGE = (1, 8, 256, 256)  # 2 MiB of float32: from the output pool


@pytest.mark.usefixtures("output_pool")
def test_outputs_are_reused() -> None:
    x, w = normal(LARGE, np.float32), normal((8, 8, 1, 1), np.float32)
    first = pc.conv2d(x, w)
    kept = first.copy()
    address = first.ctypes.data
    in_use = _core.output_pool()["in_use_bytes"]
    assert in_use >= first.nbytes
    view = first[:, :, 1:]
    del first
    # A view keeps its block out of the pool.
    other = pc.conv2d(-x, w)
    assert other.ctypes.data != address
    np.testing.assert_array_equal(view, kept[:, :, 1:])
    del view
    hits = _core.output_pool()["hits"]
    again = pc.conv2d(x, w)
    assert again.ctypes.data == address
    assert _core.output_pool()["hits"] == hits + 1
    np.testing.assert_array_equal(again, kept)


@pytest.mark.usefixtures("output_pool")
def test_the_pool_is_emptied_on_request() -> None:
    x = normal(LARGE, np.float32)
    y = pc.max_pool2d(x, 1)
    alive = pc.max_pool2d(x, 1)
    del y
    held = _core.output_pool()["held_bytes"]
    assert held > 0
    assert _core.empty_output_pool() == held
    assert _core.output_pool()["held_bytes"] == 0
    np.testing.assert_array_equal(alive, x)
    alive[...] = 3
    assert (alive == 3).all()
    del alive
    _core.empty_output_pool()
    assert _core.output_pool()["held_bytes"] == 0


@pytest.mark.usefixtures("output_pool")
def test_the_pool_is_bounded() -> None:
    x = normal(LARGE, np.float32)
    _core.set_output_pool_limit(5 * x.nbytes)
    arrays = [pc.max_pool2d(x, 1) for _ in range(10)]
    assert _core.output_pool()["held_bytes"] <= 5 * x.nbytes
    del arrays
    assert 0 < _core.output_pool()["held_bytes"] <= 5 * x.nbytes
    _core.set_output_pool_limit(0)
    assert _core.output_pool()["held_bytes"] == 0
    y = pc.max_pool2d(x, 1)
    np.testing.assert_array_equal(y, x)
    del y
    assert _core.output_pool()["held_bytes"] == 0


@pytest.mark.usefixtures("output_pool")
def test_two_thousand_calls_do_not_grow() -> None:
    x, w = normal((1, 4, 300, 256), np.float32), normal((4, 4, 1, 1), np.float32)
    small = x[:, :, :4, :5]
    for _ in range(5):
        pc.conv2d(x, w)
    before, resident = _core.output_pool(), _resident_bytes()
    for _ in range(1000):
        y = pc.conv2d(x, w)
        z = pc.conv2d(small, w)
    del y, z
    after = _core.output_pool()
    assert after["held_bytes"] <= before["held_bytes"] + x.nbytes * 2
    assert after["in_use_bytes"] == before["in_use_bytes"]
    assert after["misses"] <= before["misses"] + 2
    assert _resident_bytes() - resident < 16 << 20


def test_a_large_scratch_is_kept() -> None:
    # 65 MB of turned input, and blocks of tiles beside it.
    x = np.ones((12, 512, 50, 50), np.float32)
    layer = pc.Conv2d(
        np.full((16, 512, 3, 3), 1e-3, np.float32),
        padding=2,
        dilation=2,
        algorithm="winograd",
    )
    out, faults = layer(x), []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        layer(x, out=out)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    assert min(faults) < 30  # a page of 2 MiB each, at the least


def _resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


@pytest.mark.usefixtures("output_pool")
def test_outputs_freed_by_another_thread() -> None:
    x = normal(LARGE, np.float32)
    arrays = [pc.max_pool2d(x, 1) for _ in range(4)]
    thread = threading.Thread(target=arrays.clear)
    thread.start()
    thread.join()
    np.testing.assert_array_equal(pc.max_pool2d(x, 1), x)
    assert _core.output_pool()["in_use_bytes"] == 0


def test_threadpoolctl_survives_a_bad_environment(python: Callable[..., str]) -> None:
    code = """if True:
        import pyconv
        try:
            import threadpoolctl
        except ImportError:
            print(True)
        else:
            own = [p for p in threadpoolctl.threadpool_info()
                   if p["user_api"] == "pyconv"]
            print(own[0]["num_threads"] >= 1)
    """
    assert python(code, PYCONV_NUM_THREADS="abc").strip() == "True"
