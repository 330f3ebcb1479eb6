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

__all__ = ["PARAMETERS", "device_directory", "entry", "flatten"]

_INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]')
_ONCE = re.compile(r"^\s*#\s*pragma\s+once\s*$")

_X = "const {type}* __restrict__"
_SUM = "pyconv::Element<{type}>::Sum"
_RESULT = "pyconv::Element<{type}>::Result"
# The arrays of an operation, in the order in which `run` takes them, as C++ types.
# An array that may be y itself is not restricted.
PARAMETERS = {
    "conv": {
        "x": _X,
        "weight": "const {weight}* __restrict__",
        "bias": f"const {_SUM}* __restrict__",
        "residual": f"const {_RESULT}*",
        "y": f"{_RESULT}*",
    },
    "conv_weight": {"x": _X, "grad": _X, "weight": "{type}*"},
    "conv_bias": {"from": _X, "to": "{type}*"},
    "im2col": {"from": _X, "to": "{type}*"},
    "col2im": {"from": _X, "to": "{type}*"},
    "pool": {"x": _X, "y": "{type}*", "indices": "pyconv::int64*"},
    "pool_grad": {
        "grad": _X,
        "indices": "const pyconv::int64* __restrict__",
        "x": _X,
        "y": _X,
        "dx": "{type}*",
    },
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


def entry(
    operation: str,
    name: str,
    call: str,
    types: tuple[str, str],
    arguments: tuple[str, ...] = (),
    bounds: str = "",
) -> str:
    """Write the entry point of one launch of an operation's kernel.

    Parameters
    ----------
    operation : str
        A key of `PARAMETERS`.
    name : str
        Of the entry point.
    call : str
        The device function, its template arguments fixed.
    types : (str, str)
        C++ types of an element and of a weight.
    arguments : tuple of str, optional
        The arrays it takes; by default all of the operation's. What is none of them is
        workspace, a ``void*``.
    bounds : str, optional
        ``__launch_bounds__`` of the kernel.
    """
    declared = PARAMETERS[operation]
    chosen = arguments or tuple(declared)
    problem = "PoolProblem" if operation.startswith("pool") else "ConvProblem"
    element, weight = types
    lines = [f"    const __grid_constant__ pyconv::{problem} problem"]
    for argument in chosen:
        kind = declared.get(argument, "void*").format(type=element, weight=weight)
        lines.append(f"    {kind} {argument}")
    return (
        f'\nextern "C" __global__ void {bounds}{" " if bounds else ""}{name}(\n'
        + ",\n".join(lines)
        + f") {{\n    {call}({', '.join(('problem', *chosen))});\n}}\n"
    )
