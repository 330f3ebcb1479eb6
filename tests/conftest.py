"""Fixtures: what a test changes in the process is put back after it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import pyconv as pc
from pyconv import _core

settings.register_profile(
    "pyconv",
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("pyconv")


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Set the number of threads; restored afterwards."""
    before = pc.get_num_threads()
    yield pc.set_num_threads
    pc.set_num_threads(before)


@pytest.fixture
def isa() -> Iterator[Callable[[str], None]]:
    """Choose the instruction set; restored afterwards."""
    before = _core.active_isa()
    yield _core.set_isa
    _core.set_isa(before)


@pytest.fixture
def output_pool() -> Iterator[None]:
    """An empty output pool, its limit restored afterwards."""
    before = _core.output_pool()["limit_bytes"]
    _core.empty_output_pool()
    yield
    _core.set_output_pool_limit(before)
    _core.empty_output_pool()


@pytest.fixture
def fast_path() -> Iterator[None]:
    """An empty cache of calls."""
    _core.clear_fast_path()
    yield
    _core.clear_fast_path()


@pytest.fixture(scope="session")
def python() -> Callable[..., str]:
    """Run code in a new interpreter; its standard output. It must end well."""

    def run(code: str, timeout: float = 60.0, **environment: str) -> str:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
            env={**os.environ, **environment},
        )
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stderr}"
        return done.stdout

    return run


@pytest.fixture(scope="session")
def nvrtc() -> Any:
    """Give CuPy's NVRTC binding, or skip with what is missing."""
    cupy = pytest.importorskip("cupy", reason="compiling CUDA kernels needs CuPy")
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason
        pytest.skip(f"NVRTC is not installed: {error}")
    return cupy.cuda.nvrtc
