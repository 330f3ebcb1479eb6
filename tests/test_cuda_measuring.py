"""What measures a GPU, as far as that can be tested without one: it compiles."""

from __future__ import annotations

import re

import pytest

from pyconv.cuda import measuring, module, source
from tests.test_cuda_compile import ARCHITECTURES, registers_and_shared


@pytest.mark.parametrize("architecture", ["sm_90", *ARCHITECTURES])
@pytest.mark.usefixtures("nvrtc")
def test_measuring_compiles_for_each_architecture(architecture: str) -> None:
    text = source.flatten((measuring.FILE,))
    cubin, log = module.compile_cubin(text, module.options_for(architecture, 64))
    assert cubin[:4] == b"\x7fELF"
    assert "warning" not in log, log
    assert sorted(registers_and_shared(log)) == sorted(measuring.ENTRIES)


def test_measuring_knows_the_size_of_its_loops() -> None:
    text = source.flatten((measuring.FILE,))
    found = dict(re.findall(r"constexpr int CEILING_(\w+) = (\d+);", text))
    del found["VECTORS"]
    assert found == {
        name: str(getattr(measuring, name))
        for name in ("THREADS", "CHAINS", "STEPS", "LOADS")
    }
