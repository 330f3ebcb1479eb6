"""Plans and launches: from a problem to a kernel on the producer's stream.

A plan is made of shapes only and needs no device memory; compiling waits for `run`. The
problem crosses to the device by value, as one packed struct: a NumPy structured scalar
with the layout of core/problem.hpp.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from pyconv.cuda import device, module, source
from pyconv.cuda.kernel import (
    Constant,
    Kernel,
    Launch,
    Problem,
    element_type,
    outputs,
    weight_type,
)
from pyconv.cuda.kernels import find
from pyconv.problem import ConvProblem

__all__ = [
    "CudaPlan",
    "entry_of",
    "index_bits",
    "make_plan",
    "names_of",
    "refusal",
    "run",
    "source_of",
]

_NULL = np.uintp(0)
# 32-bit indices hold below this; the slack is for the last block's idle threads and for
# tiles and windows that reach past an axis's end.
INDEX_LIMIT = 2**31 - 2**16


@dataclass(frozen=True, slots=True)
class _Ready:
    """A launch whose kernel is loaded on a device."""

    loaded: module.Loaded
    record: Any
    blocks: int
    threads: int
    # Which of the arrays, then of the workspace's, it takes, and the first byte in each.
    places: tuple[tuple[int, int], ...]
    constant: Constant | None
    constant_place: int


@dataclass(frozen=True, slots=True, eq=False)
class CudaPlan:
    """A problem, the kernel chosen for it and how it is launched."""

    problem: Problem
    kernel: Kernel
    launches: tuple[Launch, ...]  # in order; the last one makes the result
    workspace: dict[str, int]  # bytes of each array that the launches share
    index_bits: int
    # Problems as 0-dimensional NumPy arrays of raw bytes, the launches' first arguments:
    # CuPy asks an argument for its fields at each launch, and 22 took it 90 us.
    records: tuple[Any, ...]
    is_empty: bool  # no output: nothing is launched
    # What `run` found out on each device, by its number: the second call is short.
    ready: dict[int, tuple[_Ready, ...]] = field(default_factory=dict)

    @property
    def launch(self) -> Launch:
        """The launch that makes the result."""
        return self.launches[-1]

    @property
    def algorithm(self) -> str:
        """The kernel's name."""
        return self.kernel.name

    @property
    def isa(self) -> str:
        """What executes the plan."""
        return "cuda"

    @property
    def workspace_bytes(self) -> int:
        """Device memory needed beside the arguments."""
        return sum(self.workspace.values())

    @property
    def blocking(self) -> dict[str, int]:
        """Tile constants, and the launch: blocks, threads, shared bytes, index bits."""
        return {
            **self.launch.tile,
            **({"launches": len(self.launches)} if len(self.launches) > 1 else {}),
            "blocks": self.launch.blocks,
            "block_threads": self.launch.threads,
            "shared_bytes": self.launch.shared_bytes,
            "index_bits": self.index_bits,
        }

    def __repr__(self) -> str:
        """Show the algorithm and its numbers."""
        numbers = ", ".join(f"{name}={value}" for name, value in self.blocking.items())
        return f"CudaPlan({self.kernel.operation} {self.kernel.name}: {numbers})"


def _reach(extents: tuple[int, ...], pitch: tuple[int, ...]) -> int:
    """Largest offset, in elements and in magnitude, that a pitched array reaches."""
    pairs = zip(extents, pitch, strict=True)
    return sum((extent - 1) * abs(step) for extent, step in pairs)


def index_bits(problem: Problem) -> int:
    """Choose 32-bit indices where every offset and thread number fits, else 64."""
    padded = [
        extent + before + after + kernel * dilation
        for extent, before, after, kernel, dilation in zip(
            problem.input,
            problem.pad_before,
            problem.pad_after,
            problem.kernel,
            problem.dilation,
            strict=True,
        )
    ]
    # A window's beginning may lie in the padding, and is an offset all the same.
    windows = sum(
        extent * abs(step)
        for extent, step in zip(padded, problem.x_pitch[2:], strict=True)
    )
    plane = prod(problem.input)
    channels = problem.k if isinstance(problem, ConvProblem) else problem.c
    reaches = [
        outputs(problem),
        plane,
        *padded,
        windows
        + _reach((problem.n, problem.c, *problem.input), tuple(problem.x_pitch)),
        _reach((problem.n, channels, *problem.output), tuple(problem.y_pitch)),
    ]
    if isinstance(problem, ConvProblem):
        weight = (problem.k, problem.c // problem.groups, *problem.kernel)
        reaches.append(_reach(weight, tuple(problem.w_pitch)))
    return 32 if max(reaches) < INDEX_LIMIT else 64


def refusal(kernel: Kernel, problem: Problem) -> str:
    """Say why a kernel cannot take a problem on the current device; "" if it can."""
    reason = kernel.supports(problem)
    if reason:
        return reason
    limit = device.shared_bytes()
    for launch in (*kernel.before(problem), kernel.launch(problem)):
        if launch.is_dynamic and launch.shared_bytes > limit:
            return (
                f"a block needs {launch.shared_bytes} bytes of shared memory, and "
                f"this device has {limit}"
            )
    return ""


def make_plan(problem: Problem, algorithm: str) -> CudaPlan:
    """Plan one problem with one algorithm; compiles nothing.

    Raises
    ------
    ValueError
        If there is no such algorithm, or it refuses the problem (with its reason).
    """
    kernel = find(problem.operation, algorithm)
    reason = refusal(kernel, problem)
    if reason:
        raise ValueError(f"CUDA algorithm {algorithm!r} refuses the problem: {reason}")
    launches = (*kernel.before(problem), kernel.launch(problem))
    return CudaPlan(
        problem=problem,
        kernel=kernel,
        launches=launches,
        workspace=kernel.workspace(problem),
        index_bits=index_bits(problem),
        records=tuple(_packed(launch.part or problem) for launch in launches),
        is_empty=outputs(problem) == 0,
    )


def _packed(problem: Problem) -> np.ndarray[Any, Any]:
    """Give a problem's bytes as an argument that crosses by value."""
    packed = problem.to_record()
    return np.frombuffer(packed.tobytes(), f"V{packed.nbytes}").reshape(())


def entry_of(plan: CudaPlan, launch: Launch) -> str:
    """Name a launch's entry point as a profiler shows it."""
    name = f"pyconv_{plan.kernel.operation}_{plan.kernel.name}"
    return f"{name}_{launch.step}" if launch.step else name


@lru_cache(maxsize=512)
def _text(
    file: str,
    operation: str,
    types: tuple[str, str],
    entries: tuple[tuple[str, str, tuple[str, ...], str], ...],
) -> str:
    """Flatten a kernel and append its entry points."""
    return source.flatten((file,)) + "".join(
        source.entry(operation, name, call, types, arguments, bounds)
        for name, call, arguments, bounds in entries
    )


def source_of(plan: CudaPlan) -> str:
    """Give the whole text the compiler gets for a plan: one, for all its launches."""
    is_wide = plan.index_bits == 64  # its offsets take registers that bounds deny
    entries = {
        (
            entry_of(plan, launch),
            launch.call,
            launch.arguments,
            "" if is_wide else launch.bounds,
        ): None
        for launch in plan.launches
    }
    types = (element_type(plan.problem), weight_type(plan.problem))
    return _text(plan.kernel.file, plan.kernel.operation, types, tuple(entries))


def names_of(plan: CudaPlan, launch: Launch) -> tuple[str, ...]:
    """Name the arrays a launch takes, in order."""
    return launch.arguments or tuple(source.PARAMETERS[plan.kernel.operation])


def run(plan: CudaPlan, *arrays: Any) -> None:
    """Launch on x's device and CuPy's current stream; returns before it has finished.

    Parameters
    ----------
    plan : CudaPlan
        From `make_plan`.
    arrays : cupy.ndarray or None
        The operation's arrays in order; None crosses as a null pointer.

    Raises
    ------
    MemoryError
        If the device has no room for the workspace; names kernel, problem and bytes.
    pyconv.cuda.module.CompileError
        If a kernel does not compile; names kernel and problem, and holds the log.
    """
    if plan.is_empty:
        return
    number = arrays[0].data.device_id
    if number == device.current_device():
        _run(plan, number, arrays)
    else:
        with arrays[0].device:
            _run(plan, number, arrays)


def _run(plan: CudaPlan, number: int, arrays: tuple[Any, ...]) -> None:
    """Launch on the current device."""
    ready = plan.ready.get(number)
    if ready is None:
        ready = plan.ready[number] = _prepare(plan, number)
    if plan.workspace:
        # Freed in the order of the stream: CuPy's pool hands it out on this one only.
        arrays = (*arrays, *_workspace(plan))
    for one in ready:
        pointers = [_pointer(arrays[place], first) for place, first in one.places]
        sizes = (one.blocks, one.threads, (one.record, *pointers))
        if one.constant is None:
            one.loaded.launch(*sizes)
        else:
            one.loaded.launch_with(one.constant, arrays[one.constant_place], *sizes)


def _pointer(array: Any, first: int) -> Any:
    """Give an array as an argument, from a byte on; a null pointer for None."""
    if array is None:
        return _NULL
    # CuPy takes an array faster than a number that it has to look at.
    return array if first == 0 else np.uintp(array.data.ptr + first)


def _prepare(plan: CudaPlan, number: int) -> tuple[_Ready, ...]:
    """Load a plan's launches and look up which arrays each takes."""
    place = {
        name: index
        for index, name in enumerate(
            (*source.PARAMETERS[plan.kernel.operation], *plan.workspace)
        )
    }
    return tuple(
        _Ready(
            loaded=loaded,
            record=record,
            blocks=launch.blocks,
            threads=launch.threads,
            places=tuple(
                (place[name], dict(launch.first_bytes).get(name, 0))
                for name in names_of(plan, launch)
            ),
            constant=launch.constant,
            constant_place=place[launch.constant.array] if launch.constant else 0,
        )
        for launch, record, loaded in zip(
            plan.launches, plan.records, _load(plan, number), strict=True
        )
    )


def _load(plan: CudaPlan, number: int) -> list[module.Loaded]:
    """Load all launches of a plan; what no cache holds is compiled."""
    options = module.options_for(device.architecture(number), plan.index_bits)
    text = source_of(plan)
    try:
        return [
            module.load(
                text,
                options,
                entry_of(plan, launch),
                number,
                launch.shared_bytes if launch.is_dynamic else 0,
            )
            for launch in plan.launches
        ]
    except module.CompileError as error:
        raise module.CompileError(
            f"the CUDA kernel {plan.kernel.name!r} did not compile for "
            f"{shape_text(plan.problem)}: {error}"
        ) from error


def _workspace(plan: CudaPlan) -> list[Any]:
    """Allocate what a plan's launches share, from CuPy's pool."""
    import cupy  # noqa: PLC0415 - CuPy is imported only where a GPU is used

    try:
        return [cupy.empty(size, np.uint8) for size in plan.workspace.values()]
    except cupy.cuda.memory.OutOfMemoryError as error:
        raise MemoryError(
            f"the CUDA kernel {plan.kernel.name!r} needs {plan.workspace_bytes} bytes "
            f"of workspace for {shape_text(plan.problem)}, and the device has not as "
            f"much left: {error}"
        ) from error


def shape_text(problem: Problem) -> str:
    """Write a problem's shapes for an error."""
    extents = "x".join(map(str, (problem.n, problem.c, *problem.input)))
    kernel = "x".join(map(str, problem.kernel))
    return f"{problem.operation} of {extents} with a kernel of {kernel}"
