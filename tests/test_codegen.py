"""What the compiler made of the GEMM tiles: no spills, no broadcasts inside the loop.

A spilled accumulator or a broadcast folded into the multiply-add costs a tenth of the
peak and changes no result, so nothing else would notice.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import lru_cache

import pytest

from pyconv import _core

# Full tiles of both widths: (instruction set, rows, vectors).
TILES = (("avx512", 14, 2), ("avx512", 7, 2), ("avx2", 6, 2), ("avx2", 3, 2))
TYPES = ("float", "double")

pytestmark = pytest.mark.skipif(
    shutil.which("objdump") is None or "avx2" not in _core.isa_names(),
    reason="needs objdump and an x86-64 build",
)


@lru_cache(maxsize=1)
def functions() -> dict[str, list[str]]:
    """List the instructions of every GEMM tile, by demangled name."""
    listing = subprocess.run(
        ["objdump", "-d", "-C", "--no-show-raw-insn", _core.__file__],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found: dict[str, list[str]] = {}
    lines: list[str] | None = None
    for line in listing.splitlines():
        if line.endswith(">:"):
            lines = found.setdefault(line, []) if "gemm_tile<" in line else None
        elif lines is not None and line.strip():
            lines.append(line.strip())
    return found


def inner_loops(lines: list[str]) -> Iterator[list[str]]:
    """Find runs of instructions that a jump goes back over, without a jump inside."""
    place = {line.split(":")[0]: index for index, line in enumerate(lines)}
    for index, line in enumerate(lines):
        jump = re.search(r"\tj\w+\s+([0-9a-f]+)", line)
        if jump is None or place.get(jump.group(1), len(lines)) >= index:
            continue
        body = lines[place[jump.group(1)] : index]
        if not any(re.search(r"\tj\w+\s", inner) for inner in body):
            yield body


@pytest.mark.parametrize("element", TYPES)
@pytest.mark.parametrize(("name", "rows", "vectors"), TILES)
def test_gemm_tiles(name: str, rows: int, vectors: int, element: str) -> None:
    if not functions():
        pytest.skip("the library was stripped of its symbols")
    wanted = f"pyconv::{name}::"
    tile = f"gemm_tile<{element}, {rows}, {vectors}>"
    bodies = [
        body
        for function, lines in functions().items()
        if wanted in function and tile in function
        for body in inner_loops(lines)
        if sum("vfmadd" in line for line in body) >= rows * vectors
    ]
    assert bodies, "no loop of multiply-adds was found"
    for body in bodies:
        for line in body:
            assert "{1to" not in line, f"a broadcast inside the multiply-add: {line}"
            is_vector = re.search(r"%[xyz]mm\d+", line) is not None
            is_stack = "(%rsp)" in line or "(%rbp)" in line
            assert not (is_vector and is_stack), f"a spilled vector: {line}"
