"""What the documents say is so: doctests, the README's table, the demo's checks."""

from __future__ import annotations

import doctest
import importlib
import pkgutil
from pathlib import Path

import numpy as np
import pytest

import pyconv as pc
from benchmarks import readme
from pyconv.backends import OPERATIONS

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(pc.__path__, "pyconv.")
    if module.name not in ("pyconv.__main__", "pyconv._core")
)


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert result.failed == 0


def test_the_readme_names_every_algorithm() -> None:
    text = (ROOT / "README.md").read_text(encoding="ascii")
    for operation in OPERATIONS:
        for name in pc.algorithms(operation):
            assert f"| `{name}` |" in text, "run python -m benchmarks.readme --write"
    assert readme.table() in text, "run python -m benchmarks.readme --write"


def test_the_demo_finds_every_algorithm_right() -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("rich")
    pytest.importorskip("matplotlib")
    from benchmarks import demo, photograph  # noqa: PLC0415 - needs what bench installs

    x = np.ascontiguousarray(photograph.load()[:, :, 100:160, 200:271])
    checks = list(demo.check_cpu(x, photograph.bank()))
    assert {check.algorithm for check in checks} >= {
        "direct",
        "winograd",
        "few_channels",
    }
    for check in checks:
        assert check.good, check
