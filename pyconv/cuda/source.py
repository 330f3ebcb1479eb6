"""One text for the compiler: a kernel's includes flattened, and its entry point.

NVRTC gets a single self-contained source, so its hash names everything that went in (a
disk cache keyed on text and options alone misses changed headers, cupy#941) and no
include path is needed. The entry is a plain extern "C" function that fixes the template
arguments: no name mangling to look up, and a name a profiler can show.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

__all__ = ["device_directory", "entry", "flatten"]

_INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')
_ONCE = re.compile(r"^\s*#\s*pragma\s+once\s*$")

# Of operations that make one array of one other.
_UNARY = """
extern "C" __global__ void {name}(
    const __grid_constant__ pyconv::ConvProblem problem,
    const {type}* __restrict__ from,
    {type}* to) {{
    {call}(problem, from, to);
}}
"""

_ENTRIES = {
    "conv_bias": _UNARY,
    "im2col": _UNARY,
    "col2im": _UNARY,
    "conv": """
extern "C" __global__ void {name}(
    const __grid_constant__ pyconv::ConvProblem problem,
    const {type}* __restrict__ x,
    const {weight}* __restrict__ weight,
    const pyconv::Element<{type}>::Sum* __restrict__ bias,
    const pyconv::Element<{type}>::Result* residual,
    pyconv::Element<{type}>::Result* y) {{
    {call}(problem, x, weight, bias, residual, y);
}}
""",
    "conv_weight": """
extern "C" __global__ void {name}(
    const __grid_constant__ pyconv::ConvProblem problem,
    const {type}* __restrict__ x,
    const {type}* __restrict__ grad,
    {type}* weight) {{
    {call}(problem, x, grad, weight);
}}
""",
    "pool_grad": """
extern "C" __global__ void {name}(
    const __grid_constant__ pyconv::PoolProblem problem,
    const {type}* __restrict__ grad,
    const pyconv::int64* __restrict__ indices,
    const {type}* __restrict__ x,
    const {type}* __restrict__ y,
    {type}* dx) {{
    {call}(problem, grad, indices, x, y, dx);
}}
""",
    "pool": """
extern "C" __global__ void {name}(
    const __grid_constant__ pyconv::PoolProblem problem,
    const {type}* __restrict__ x,
    {type}* y,
    pyconv::int64* indices) {{
    {call}(problem, x, y, indices);
}}
""",
}


@lru_cache(maxsize=1)
def device_directory() -> Path:
    """Find the device code: inside the wheel, or beside the package in a checkout.

    Raises
    ------
    FileNotFoundError
        If neither place holds it: the installation is incomplete.
    """
    here = Path(__file__).resolve().parent
    places = (here / "csrc", here.parents[1] / "csrc")
    for place in places:
        if (place / "cuda" / "index.cuh").is_file():
            return place
    listed = " or ".join(str(place) for place in places)
    raise FileNotFoundError(f"pyconv's CUDA sources are missing: looked in {listed}")


def flatten(files: tuple[str, ...], directory: Path | None = None) -> str:
    """Join device files and all they include into one text, each file once.

    Parameters
    ----------
    files : tuple of str
        Paths below ``csrc/cuda``.
    directory : Path, optional
        The ``csrc`` directory; by default the installed one.

    Returns
    -------
    str
        Includes come before what includes them; ``#line`` keeps file names in errors.

    Raises
    ------
    ValueError
        If a file includes a system header: NVRTC has none.
    """
    root = (directory or device_directory()).resolve()
    seen: set[Path] = set()
    parts: list[str] = []
    for name in files:
        _append((root / "cuda" / name).resolve(), root, seen, parts)
    return "".join(parts)


def _append(path: Path, root: Path, seen: set[Path], parts: list[str]) -> None:
    """Add one file after its includes."""
    if path in seen:
        return
    seen.add(path)
    shown = path.relative_to(root).as_posix()
    parts.append(f'#line 1 "{shown}"\n')
    for number, line in enumerate(path.read_text(encoding="ascii").splitlines(), 1):
        include = _INCLUDE.match(line)
        if include is None:
            parts.append("\n" if _ONCE.match(line) else line + "\n")
            continue
        if include[1] == "<":
            raise ValueError(f"{shown}:{number}: NVRTC has no header <{include[2]}>")
        _append((path.parent / include[2]).resolve(), root, seen, parts)
        parts.append(f'#line {number + 1} "{shown}"\n')


def entry(operation: str, name: str, call: str, element: str, weight: str) -> str:
    """Write the entry point of one kernel of an operation, with its C++ types."""
    return _ENTRIES[operation].format(name=name, call=call, type=element, weight=weight)
