"""F(4x4, 3x3) stage by stage as the host sees it: parts, launches, movement, cost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from pyconv.cuda.conv import activation, epilogue_bytes
from pyconv.cuda.kernel import (
    MAX_BLOCKS,
    Ceilings,
    Kernel,
    Launch,
    Movement,
    added,
    ceil_div,
    channels_last,
    element_type,
    outputs,
    weight_type,
)
from pyconv.cuda.winograd import (
    FLOAT_BYTES,
    STEP,
    TRANSFORM_SLOWDOWN,
    filters_launch,
    filters_movement,
    input_loads,
    of_winograd,
    panels,
    steps,
    tiles,
    total_us,
    transformed_bytes,
)
from pyconv.problem import ConvProblem, itemsize_of, result_type

__all__ = ["TILES", "WINOGRAD_F4", "ProductTile"]

OUTPUTS = 4  # of a tile along an axis
POINTS = 36
SPACE = "conv_winograd_f4"
TRANSFORM_THREADS = 128
# What lies between the stages, of one part of the problem. Parts whose V and M stayed in
# L2 would spare device memory, but be many launches; to be measured.
WORKSPACE_BYTES = 2**28
# Additions and products of a tile's two transforms: lines of 22 and of 17.
INPUT_FLOPS = 12 * 22
OUTPUT_FLOPS = 10 * 17
# Part of the arithmetic peak the products reach, on an H100.
EFFICIENCY = 0.5
# What a tile of half the size loses to its shared loads; a placeholder.
SMALL_PENALTY = 1.25


@dataclass(frozen=True, slots=True)
class ProductTile:
    """Tile constants of the products: a GemmTile of memory/gemm_tile.cuh."""

    name: str
    block_m: int
    block_n: int
    thread_m: int
    thread_n: int

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return (self.block_m // self.thread_m) * (self.block_n // self.thread_n)

    @property
    def cpp(self) -> str:
        """The C++ type."""
        sides = (self.block_m, self.block_n, self.thread_m, self.thread_n)
        return f"pyconv::GemmTile<{', '.join(map(str, sides))}>"


TILES = (ProductTile("large", 128, 128, 8, 8), ProductTile("small", 64, 64, 8, 4))


def _tile(problem: ConvProblem) -> ProductTile:
    """Choose the tile that multiplies least past the edges."""

    def work(tile: ProductTile) -> float:
        rows = ceil_div(tiles(problem, OUTPUTS), tile.block_m) * tile.block_m
        sums = rows * panels(problem, tile.block_n) * tile.block_n
        return sums * (SMALL_PENALTY if tile is TILES[-1] else 1.0)

    return min(TILES, key=work)


# ---- parts --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Part:
    """Some images, or rows of one, whose stages fit in the workspace."""

    problem: ConvProblem
    first_bytes: tuple[tuple[str, int], ...]
    tile: ProductTile

    @property
    def blocks(self) -> int:
        """Blocks of tiles."""
        return ceil_div(tiles(self.problem, OUTPUTS), self.tile.block_m)

    @property
    def slabs(self) -> int:
        """Blocks of the products at one point."""
        along_n = panels(self.problem, self.tile.block_n)
        return self.problem.groups * self.blocks * along_n

    @property
    def input_bytes(self) -> int:
        """Bytes of V, whole blocks and steps."""
        depth = self.problem.groups * steps(self.problem) * STEP
        return self.blocks * self.tile.block_m * depth * POINTS * FLOAT_BYTES

    @property
    def sum_bytes(self) -> int:
        """Bytes of M, whole blocks and panels."""
        return self.slabs * self.tile.block_m * self.tile.block_n * POINTS * FLOAT_BYTES


def _part(
    problem: ConvProblem, tile: ProductTile, images: range, rows: range | None
) -> Part:
    """Cut images out of a problem, or rows of outputs of one image."""
    first = images.start
    output, pad_before = problem.output, problem.pad_before
    row = 0
    if rows is not None:
        row = rows.start
        output = (output[0], len(rows), output[2])
        # Rows of x keep their numbers: the window of the part's first row begins there.
        pad_before = (pad_before[0], pad_before[1] - row, pad_before[2])
    cut = replace(problem, n=len(images), output=output, pad_before=pad_before)
    into_y = first * problem.y_pitch[0] + row * problem.y_pitch[3]
    into_y *= itemsize_of(result_type(problem.dtype))
    into_x = first * problem.x_pitch[0] * problem.itemsize
    places = (("x", into_x), ("residual", into_y), ("y", into_y))
    return Part(cut, places, tile)


def _fits(problem: ConvProblem, tile: ProductTile, images: int, rows: int) -> bool:
    """Whether the stages of so many images and rows fit in the workspace."""
    part = _part(problem, tile, range(images), range(rows))
    return part.input_bytes + part.sum_bytes <= WORKSPACE_BYTES


def _largest(limit: int, fits: Callable[[int], bool]) -> int:
    """Find the largest of 1 ... limit that fits, 0 if none; less fits where more does."""
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


@lru_cache(maxsize=256)
def _parts(problem: ConvProblem) -> tuple[Part, ...]:
    """Cut a problem into parts, as equal as can be; none where no row of tiles fits."""
    tile = _tile(problem)
    height = problem.output[1]
    rows_of_tiles = ceil_div(height, OUTPUTS)

    def cuts(count: int, limit: int) -> Iterator[range]:
        size = ceil_div(count, ceil_div(count, limit))
        return (range(i, min(i + size, count)) for i in range(0, count, size))

    images = _largest(problem.n, lambda n: _fits(problem, tile, n, height))
    if images:
        return tuple(
            _part(problem, tile, some, None) for some in cuts(problem.n, images)
        )
    most = _largest(rows_of_tiles, lambda r: _fits(problem, tile, 1, r * OUTPUTS))
    if not most:
        return ()
    return tuple(
        _part(
            problem,
            tile,
            range(n, n + 1),
            range(some.start * OUTPUTS, min(some.stop * OUTPUTS, height)),
        )
        for n in range(problem.n)
        for some in cuts(rows_of_tiles, most)
    )


# ---- launches -----------------------------------------------------------------------


def _launches(part: Part) -> tuple[Launch, Launch, Launch]:
    """Transform a part's inputs, multiply, transform its outputs."""
    problem, tile = part.problem, part.tile
    types = (element_type(problem), weight_type(problem))
    is_last = "true" if channels_last(problem.x_pitch) else "false"
    mode = f"static_cast<pyconv::PaddingMode>({problem.padding_mode})"

    def launch(
        step: str, constants: tuple[str, ...], threads: int, *arguments: str
    ) -> Launch:
        name = "run" if step == "outputs" else step
        return Launch(
            call=f"pyconv::{SPACE}::{name}<{', '.join(constants)}>",
            tile={"block_m": tile.block_m, "block_n": tile.block_n, "block_k": STEP},
            blocks=ceil_div(threads, TRANSFORM_THREADS),
            threads=TRANSFORM_THREADS,
            shared_bytes=0,
            step=step,
            arguments=arguments,
            part=problem,
            first_bytes=part.first_bytes,
        )

    inputs = launch(
        "inputs",
        (types[0], tile.cpp, mode, is_last),
        part.input_bytes // POINTS // FLOAT_BYTES,
        "x",
        "v",
    )
    products = launch("products", (tile.cpp, is_last), 0, "v", "filters", "m")
    both_sides = tile.block_m + tile.block_n + 2 * 4  # a vector more each
    products = replace(
        products,
        blocks=part.slabs * POINTS,
        threads=tile.threads,
        shared_bytes=2 * STEP * both_sides * FLOAT_BYTES,
        blocks_together=512 // tile.threads,
    )
    last = launch(
        "outputs",
        (*types, tile.cpp, activation(problem), is_last),
        tiles(problem, OUTPUTS) * problem.k,
        *("x", "weight", "bias", "residual", "y", "m"),
    )
    return inputs, products, last


def _supports(problem: ConvProblem) -> str:
    """3x3 in float32, in parts that fit the workspace and a grid."""
    tile = _tile(problem)
    reason = of_winograd(problem, OUTPUTS, tile.block_n)
    if reason:
        return reason
    parts = _parts(problem)
    if not parts:
        least = _part(problem, tile, range(1), range(OUTPUTS))
        return (
            f"a row of tiles needs {least.input_bytes + least.sum_bytes} bytes of "
            f"workspace; {WORKSPACE_BYTES} are taken at most"
        )
    blocks = max(launch.blocks for launch in _launches(parts[0]))
    return "" if blocks <= MAX_BLOCKS else f"{blocks} blocks are more than a grid has"


def _all_launches(problem: ConvProblem) -> list[Launch]:
    """List every launch, the filters' first."""
    block = _tile(problem).block_n
    listed = [filters_launch(problem, OUTPUTS, block)]
    for part in _parts(problem):
        listed += _launches(part)
    return listed


def _before(problem: ConvProblem) -> tuple[Launch, ...]:
    """All but the last part's outputs."""
    return tuple(_all_launches(problem)[:-1])


def _launch(problem: ConvProblem) -> Launch:
    """Transform the last part's outputs."""
    return _all_launches(problem)[-1]


def _workspace(problem: ConvProblem) -> dict[str, int]:
    """Give the transformed filters, V and M."""
    parts = _parts(problem)
    return {
        "filters": transformed_bytes(problem, OUTPUTS, _tile(problem).block_n),
        "v": max(part.input_bytes for part in parts),
        "m": max(part.sum_bytes for part in parts),
    }


# ---- movement -----------------------------------------------------------------------


def _inputs_movement(part: Part) -> Movement:
    """Give the movement of a part's input transform."""
    problem = part.problem
    loaded = input_loads(problem, OUTPUTS) * problem.itemsize
    _, height, width = problem.input
    distinct = min(loaded, problem.n * problem.c * height * width * problem.itemsize)
    values = part.input_bytes // POINTS // FLOAT_BYTES
    return Movement(
        flops=values * INPUT_FLOPS,
        global_bytes=loaded + part.input_bytes,
        l1_bytes=loaded + part.input_bytes,
        l2_bytes=distinct + part.input_bytes,
        dram_bytes=distinct + part.input_bytes,
    )


def _products_movement(part: Part) -> Movement:
    """Give the movement of a part's products."""
    problem, tile = part.problem, part.tile
    filters = transformed_bytes(problem, OUTPUTS, tile.block_n)
    inputs = part.input_bytes * panels(problem, tile.block_n)
    depth = steps(problem) * STEP
    sums = part.sum_bytes // FLOAT_BYTES
    moved = inputs + filters * part.blocks + part.sum_bytes
    # What threads ask of shared memory.
    operands = sums * depth * (tile.thread_m + tile.thread_n) * FLOAT_BYTES
    operands //= tile.thread_m * tile.thread_n
    return Movement(
        flops=2 * sums * depth,
        global_bytes=moved,
        # Loaded, stored to shared memory; threads of a warp share vectors by two there.
        l1_bytes=2 * moved - part.sum_bytes + operands // 2,
        l2_bytes=moved,
        dram_bytes=part.input_bytes + filters + part.sum_bytes,
    )


def _outputs_movement(part: Part) -> Movement:
    """Give the movement of a part's output transform."""
    problem = part.problem
    count = tiles(problem, OUTPUTS) * problem.k
    sums = count * POINTS * FLOAT_BYTES
    finish = epilogue_bytes(problem)
    size = itemsize_of(result_type(problem.dtype))
    stored = outputs(problem) * size * (1 + problem.has_residual)
    return Movement(
        flops=count * OUTPUT_FLOPS,
        global_bytes=sums + finish,
        l1_bytes=sums + finish,
        l2_bytes=sums + stored,
        dram_bytes=sums + stored + problem.k * FLOAT_BYTES * problem.has_bias,
    )


def _movements(problem: ConvProblem) -> list[tuple[Movement, float]]:
    """List every launch's movement, and what slows it down."""
    block = _tile(problem).block_n
    listed = [(filters_movement(problem, OUTPUTS, block), TRANSFORM_SLOWDOWN)]
    for part in _parts(problem):
        listed += [
            (_inputs_movement(part), TRANSFORM_SLOWDOWN),
            (_products_movement(part), 1 / EFFICIENCY),
            (_outputs_movement(part), TRANSFORM_SLOWDOWN),
        ]
    return listed


def _movement(problem: ConvProblem) -> Movement:
    """Add all launches up."""
    return added(movement for movement, _ in _movements(problem))


def _cost_us(problem: ConvProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds."""
    return total_us(_movements(problem), ceilings)


WINOGRAD_F4 = Kernel(
    name="winograd_f4",
    operation="conv",
    summary="Winograd's F(4x4, 3x3): transforms, and 36 matrix products between them",
    file="conv/21_winograd_f4.cuh",
    supports=_supports,
    launch=_launch,
    movement=_movement,
    cost_us=_cost_us,
    before=_before,
    workspace=_workspace,
    rounding="winograd_f4",
)
