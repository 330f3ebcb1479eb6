"""The rules of the house: which file may include which, how long, and in what letters."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from pyconv import _core
from pyconv import problem as problem_module

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pyconv"
CSRC = ROOT / "csrc"

# From the top of the road to its foot: a module imports only what stands below it, or
# beside it in its own package.
PUBLIC = (
    "convolution",
    "layers",
    "pooling",
    "adaptive_pooling",
    "unpooling",
    "columns",
    "folding",
    "signal",
    "ndimage",
)
LEVELS: tuple[tuple[str, ...], ...] = (
    ("__main__",),
    ("cli",),
    ("__init__",),
    # Made of convolutions and poolings.
    ("transposed", "grad"),
    ("adjoint",),
    ("phases",),
    PUBLIC,
    ("pool_calls",),
    ("device_calls",),
    ("pool_grad_arguments",),
    (
        "conv_arguments",
        "input_arguments",
        "pool_arguments",
        "weight_arguments",
        "bias_arguments",
        "columns_arguments",
    ),
    ("running",),
    ("arrays",),
    ("planning",),
    ("recording",),
    ("backends",),
    ("cpu", "cuda"),
    ("fft", "widened", "real_channels"),
    ("compiled", "selection"),
    ("protocols",),
    ("problem",),
    ("parameters",),
    ("errors",),
    ("_core",),
)
# Seen from every level: inspection looks at the road, it is no part of it.
BESIDE = ("inspection", "readers", "movement", "control")
ADAPTERS = ("torch", "jax", "onnx", "dask")
FRAMEWORKS = ("cupy", "torch", "jax", "onnx", "dask", "scipy")


def python_files(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def module_of(file: Path) -> str:
    """The first name under pyconv: convolution, cuda, __init__ ..."""
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py").removesuffix(".pyi")


def imports(file: Path) -> Iterator[tuple[str, bool]]:
    """Each imported dotted name, and whether it is imported when the module is."""
    tree = ast.parse(file.read_text(encoding="ascii"))
    late = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) not in late
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = file.relative_to(ROOT).parts[: -node.level]
                base = ".".join((*above, *([node.module] if node.module else [])))
            for alias in node.names:
                yield f"{base}.{alias.name}", id(node) not in late


def level(module: str) -> int | None:
    """Position on the road, 0 at the top; None for what stands beside it."""
    for position, modules in enumerate(LEVELS):
        if module in modules:
            return position
    return None


def own_modules() -> set[str]:
    return {module_of(file) for file in python_files("pyconv")} | {"_core"}


def test_every_module_has_a_place() -> None:
    known = {name for modules in LEVELS for name in modules}
    assert own_modules() <= known | {*BESIDE, *ADAPTERS}


@pytest.mark.parametrize("file", python_files("pyconv"), ids=lambda f: f.name)
def test_python_imports_go_down(file: Path) -> None:
    here = module_of(file)
    for name, at_once in imports(file):
        package, *rest = name.split(".")
        if package != "pyconv" or not rest or here in ADAPTERS:
            continue
        there = rest[0] if rest[0] in own_modules() else "__init__"
        assert there not in ADAPTERS, f"{file.name} imports the adapter {name}"
        above, below = level(here), level(there)
        if there == here or above is None or below is None:
            continue
        # Type-only and lazy imports inside functions go the same way.
        assert above < below, f"{file.name} imports {name} (at once: {at_once})"


@pytest.mark.parametrize("file", python_files("pyconv"), ids=lambda f: f.name)
def test_frameworks_are_imported_late(file: Path) -> None:
    here = module_of(file)
    for name, at_once in imports(file):
        framework = name.split(".")[0]
        if framework not in FRAMEWORKS or framework == here:
            continue
        known = {("cupy", "cuda"), ("scipy", "fft")}
        assert (framework, here) in known, f"{file.name} imports {name}"
        assert not at_once, f"{file.name} imports {name} when it is imported"


def test_the_package_imports_no_benchmark_or_test() -> None:
    for file in python_files("pyconv"):
        for name, _ in imports(file):
            assert name.split(".")[0] not in ("benchmarks", "tests"), file


def test_import_pyconv_is_light(python: Callable[..., str]) -> None:
    code = """if True:
        import sys, threading, pyconv
        heavy = {"cupy", "torch", "jax", "onnx", "dask", "scipy"}
        print(sorted(heavy & set(sys.modules)), threading.active_count())
        with open("/proc/self/status") as status:
            print([line.split()[1] for line in status if line.startswith("Threads")])
    """
    assert python(code, OPENBLAS_NUM_THREADS="1").split() == ["[]", "1", "['1']"]


# C++ and CUDA ---------------------------------------------------------------------


def cpp_files(folder: str) -> list[Path]:
    kinds = (".hpp", ".cpp", ".cuh", ".h")
    return sorted(f for f in (CSRC / folder).rglob("*") if f.suffix in kinds)


def includes(file: Path) -> list[str]:
    """What a file includes: <name> with brackets, a path under csrc without."""
    found = re.findall(
        r'^\s*#\s*include\s+(?:"([^"]+)"|(<[^>]+>))',
        file.read_text(encoding="ascii"),
        re.MULTILINE,
    )
    names = []
    for quoted, angled in found:
        beside = (file.parent / quoted).resolve() if quoted else file
        if angled:
            names.append(angled)
        elif (CSRC / quoted).exists() or not beside.exists():
            names.append(quoted)
        else:
            names.append(str(beside.relative_to(CSRC)))
    return names


STANDARD = r"<[a-z_/.0-9]+>"
FREESTANDING = r"<(cstddef|cstdint|cstring)>|<[a-z0-9]*(intrin|neon)\.h>"
PROBLEM = r"core/problem\.hpp"
# What a kernel may see: the problem and its own contract.
KERNEL_HEADERS = rf"{PROBLEM}|cpu/isa/isa\.hpp"
ALGORITHM = rf"cpu/(?!isa/table).*|core/.*|{STANDARD}"
CUDA_PARTS = rf"cuda/(memory/.*|mma/.*|direct_sum\.cuh|epilogue\.cuh|index\.cuh|winograd\.cuh)|{PROBLEM}|{STANDARD}"

# folder -> what its files may include, as a pattern of the whole name
CPP_RULES = {
    "core": rf"core/.*|{STANDARD}",
    "cpu/micro": rf"cpu/micro/.*|{KERNEL_HEADERS}|{FREESTANDING}",
    "cpu/isa": rf"cpu/(isa|micro)/.*|core/.*|{STANDARD}",
    "cpu/columns": ALGORITHM,
    "cpu/conv": ALGORITHM,
    "cpu/conv_backward": ALGORITHM,
    "cpu/pool": ALGORITHM,
    "cuda/memory": rf"cuda/(memory/.*|index\.cuh)|{PROBLEM}|{STANDARD}",
    "cuda/mma": rf"cuda/(memory/.*|mma/.*|index\.cuh)|{PROBLEM}|{STANDARD}",
    "cuda/columns": CUDA_PARTS,
    # What the rungs of a ladder share lies in a folder of theirs.
    "cuda/conv": rf"cuda/conv/(halo|gemm)/.*|{CUDA_PARTS}",
    "cuda/conv_backward": CUDA_PARTS,
    "cuda/pool": rf"cuda/pool/.*|{CUDA_PARTS}",
}


@pytest.mark.parametrize("folder", CPP_RULES)
def test_cpp_includes_go_down(folder: str) -> None:
    for file in cpp_files(folder):
        for name in includes(file):
            allowed = re.fullmatch(CPP_RULES[folder], name)
            assert allowed, f"{file.relative_to(ROOT)}: {name}"


def test_only_bindings_know_python() -> None:
    for file in cpp_files("."):
        text = file.read_text(encoding="ascii")
        knows = re.search(r"#\s*include\s*[<\"](Python\.h|pybind11|numpy/)", text)
        folder = file.relative_to(CSRC).parts[0]
        assert not knows or folder == "bindings", file
    for file in cpp_files("bindings"):
        if "numpy/" in "".join(includes(file)):
            assert file.stem == "arrays", f"{file}: only arrays.* knows NumPy"


def test_problem_includes_nothing() -> None:
    assert includes(CSRC / "core" / "problem.hpp") == []


def test_nothing_is_built_with_fast_math() -> None:
    for line in (ROOT / "CMakeLists.txt").read_text(encoding="ascii").splitlines():
        if not line.lstrip().startswith("#"):
            assert "fast-math" not in line, line
            assert "-Ofast" not in line, line


def all_sources() -> list[Path]:
    files = python_files("pyconv", "tests", "benchmarks") + cpp_files(".")
    return [*files, *PACKAGE.glob("*.pyi"), ROOT / "CMakeLists.txt", ROOT / "Makefile"]


def test_files_are_short_and_ascii() -> None:
    for file in all_sources():
        data = file.read_bytes()
        assert data.isascii(), f"{file.relative_to(ROOT)} is not ASCII"
        lines = data.count(b"\n")
        assert lines <= 400, f"{file.relative_to(ROOT)}: {lines} lines"


def test_files_say_what_they_are() -> None:
    for file in cpp_files("."):
        assert file.read_text(encoding="ascii").startswith("//"), file
    for file in python_files("pyconv", "tests", "benchmarks"):
        assert ast.get_docstring(ast.parse(file.read_text(encoding="ascii"))), file


def isa_flags() -> dict[str, tuple[str, str]]:
    """ISA -> (flags, vector bytes), read from CMakeLists.txt."""
    text = (ROOT / "CMakeLists.txt").read_text(encoding="ascii")
    flags = dict(re.findall(r"set\(PYCONV_FLAGS_(\w+)\s+\"?([^\")]*)\"?\)", text))
    widths = dict(re.findall(r"set\(PYCONV_VECTOR_BYTES_(\w+)\s+(\d+)\)", text))
    for isa, own in flags.items():  # one may add to another's, which stands above it
        flags[isa] = re.sub(r"\$\{PYCONV_FLAGS_(\w+)\}", lambda m: flags[m[1]], own)
    return {isa: (flags[isa], widths.get(isa, "64")) for isa in flags}


def test_isa_objects_leak_no_weak_symbol(tmp_path: Path) -> None:
    """A weak symbol of an AVX object may be the copy the linker keeps for everyone.

    At -O2 inlining hides the leak, so the table is compiled with -O0 here.
    """
    compiler, nm = shutil.which("g++") or shutil.which("clang++"), shutil.which("nm")
    if compiler is None or nm is None:
        pytest.skip("needs g++ or clang++, and nm")
    assert "baseline" in isa_flags()
    for isa, (flags, width) in isa_flags().items():
        if isa not in _core.isa_names() and isa != "baseline":
            continue
        target = tmp_path / f"{isa}.o"
        command = [compiler, "-std=c++20", "-O0", "-fno-exceptions", "-I", str(CSRC)]
        command += [f"-DPYCONV_ISA={isa}", f"-DPYCONV_VECTOR_BYTES={width}"]
        sources = ["products.cpp"] if "_" in isa else ["products.cpp", "table.cpp"]
        for source in sources:
            each = [*command, *flags.split(), "-c", str(CSRC / "cpu/isa" / source)]
            subprocess.run([*each, "-o", str(target)], check=True)
            symbols = subprocess.run(
                [nm, "-C", str(target)], check=True, capture_output=True, text=True
            ).stdout
            weak = [one for one in symbols.splitlines() if re.search(r" [WwVvu] ", one)]
            assert weak == [], f"{isa}: {weak[:5]}"


def struct_fields(name: str) -> list[tuple[str, int]]:
    """(field, count) of a struct in problem.hpp, in order."""
    text = (CSRC / "core" / "problem.hpp").read_text(encoding="ascii")
    body = re.search(rf"struct {name} {{(.*?)}};", text, re.DOTALL)
    assert body
    fields = re.findall(r"^\s*int64 (\w+)(?:\[(\d+)\])?;", body[1], re.MULTILINE)
    return [(field, int(count or 1)) for field, count in fields]


@pytest.mark.parametrize(
    ("struct", "record"),
    [("ConvProblem", "CONV_RECORD"), ("PoolProblem", "POOL_RECORD")],
)
def test_records_match_the_header(struct: str, record: str) -> None:
    dtype = np.dtype(getattr(problem_module, record))
    assert dtype.names is not None
    given = []
    for name in dtype.names:
        field = dtype.fields[name][0]  # type: ignore[index]
        assert field.base == np.int64
        given.append((name, int(np.prod(field.shape, dtype=int))))
    expected = struct_fields(struct)
    assert given == expected
    assert dtype.itemsize == 8 * sum(count for _, count in expected)


def test_algorithms_are_files() -> None:
    """One word everywhere: the name of an algorithm is the stem of its file."""
    for kind, rows in (
        ("conv", _core.conv_algorithms()),
        ("pool", _core.pool_algorithms()),
    ):
        stems = {file.stem for file in (CSRC / "cpu" / kind).glob("*.cpp")}
        for name, summary in rows:
            assert name in stems, f"csrc/cpu/{kind}/{name}.cpp"
            assert summary


def test_no_stream_is_read_or_written() -> None:
    """A module with a C++ library of its own crashes in them (csrc/core/machine.cpp)."""
    for file in (ROOT / "csrc").rglob("*"):
        if file.suffix in {".cpp", ".hpp"}:
            used = re.search(r"#include <(f|s|io)stream>", file.read_text())
            assert used is None, f"{file}: {used}"
