"""What importing and asking does where CuPy, the driver or a device is missing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pyconv import cuda
from pyconv.backends import OPERATIONS

BLOCK_CUPY = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "cupy":
            raise ImportError("cupy is blocked")

sys.meta_path.insert(0, Blocker())
"""


def _python(code: str) -> str:
    """Run code in a fresh interpreter; its standard output."""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_without_cupy() -> None:
    code = "import pyconv, pyconv.cuda\nprint(pyconv.cuda.availability())"
    assert "CuPy cannot be imported: cupy is blocked" in _python(BLOCK_CUPY + code)


def test_import_does_not_import_cupy() -> None:
    code = "import sys, pyconv, pyconv.cuda\nprint('cupy' in sys.modules)"
    assert _python(code).strip() == "False"


def test_without_a_driver_the_reason_is_a_sentence() -> None:
    cupy = pytest.importorskip("cupy", reason="asks CuPy for devices")
    try:
        devices = cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError:
        devices = 0
    if devices:
        pytest.skip("this machine has a GPU")
    reason = cuda.availability()
    assert "driver" in reason
    assert "\n" not in reason
    assert cuda.availability() is reason  # asked once


def test_lists_follow_the_registry() -> None:
    for operation in OPERATIONS:
        names = [name for name, _ in cuda.algorithms(operation)]
        registered = [k.name for k in cuda.KERNELS if k.operation == operation]
        assert names == registered
        assert len(set(names)) == len(names)
