"""F(2x2, 3x3) in one kernel as the host sees it: limits, movement, cost."""

from __future__ import annotations

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

__all__ = ["WINOGRAD_F2"]

OUTPUTS = 2  # of a tile along an axis
POINTS = 16
BLOCK = 32  # tiles, and filters
THREADS = 256
SPACE = "conv_winograd_f2"
VECTOR = 4
INDEX_BYTES = 4  # the wide build's are 8
# Additions of a tile's two transforms.
INPUT_FLOPS = 32
OUTPUT_FLOPS = 24
# Four vectors of 16 bytes a thread and channel, a warp's each in two passes of the banks.
OPERAND_BYTES = 4 * 2 * 128 // 32
# Part of the arithmetic peak it reaches, products and transforms: 0.35 to 0.43 on an
# H100, half of what is published of kernels with twice the sums a thread.
EFFICIENCY = 0.40
# From one step of eight channels to the next where a block is alone.
STEP_US = 2.0


def _blocks(problem: ConvProblem) -> int:
    """Count the blocks of the main launch."""
    along = ceil_div(tiles(problem, OUTPUTS), BLOCK)
    return problem.groups * along * panels(problem, BLOCK)


def _supports(problem: ConvProblem) -> str:
    """3x3 in float32, up to the size of a grid."""
    reason = of_winograd(problem, OUTPUTS, BLOCK)
    if reason:
        return reason
    blocks = _blocks(problem)
    return "" if blocks <= MAX_BLOCKS else f"{blocks} tiles are more than a grid has"


def _shared_bytes(problem: ConvProblem) -> int:
    """Bytes of a block; `Shared` of 20_winograd_f2.cuh and its staging, the larger."""
    operands = 2 * POINTS * STEP * (BLOCK + VECTOR)
    is_last = channels_last(problem.x_pitch)
    rows = BLOCK // 2
    slow, fast = (rows, BLOCK) if is_last else (BLOCK, rows)
    offsets = 2 * (OUTPUTS + 2) * BLOCK * INDEX_BYTES
    return max(operands, POINTS * slow * (fast + VECTOR)) * FLOAT_BYTES + offsets


def _before(problem: ConvProblem) -> tuple[Launch, ...]:
    """Transform the filters."""
    return (filters_launch(problem, OUTPUTS, BLOCK),)


def _workspace(problem: ConvProblem) -> dict[str, int]:
    """Give the transformed filters."""
    return {"filters": transformed_bytes(problem, OUTPUTS, BLOCK)}


def _launch(problem: ConvProblem) -> Launch:
    """One block 32 tiles by 32 filters."""
    arguments = (
        element_type(problem),
        weight_type(problem),
        f"static_cast<pyconv::PaddingMode>({problem.padding_mode})",
        activation(problem),
        "true" if channels_last(problem.x_pitch) else "false",
    )
    return Launch(
        call=f"pyconv::{SPACE}::run<{', '.join(arguments)}>",
        tile={"tiles": BLOCK, "block_k": BLOCK, "block_c": STEP},
        blocks=_blocks(problem),
        threads=THREADS,
        shared_bytes=_shared_bytes(problem),
        arguments=("x", "weight", "bias", "residual", "y", "filters"),
        blocks_together=2,
        wide_blocks_together=1,
    )


def _main_movement(problem: ConvProblem) -> Movement:
    """Give the movement of whole blocks; each transforms its tiles' inputs anew."""
    blocks = _blocks(problem)
    depth = steps(problem) * STEP
    x = input_loads(problem, OUTPUTS) * panels(problem, BLOCK) * problem.itemsize
    filters = blocks * depth * POINTS * BLOCK * FLOAT_BYTES
    sums = blocks * POINTS * BLOCK * BLOCK
    operands = blocks * depth * (THREADS * OPERAND_BYTES + 2 * POINTS * BLOCK * 4)
    finish = epilogue_bytes(problem)
    stored = outputs(problem) * itemsize_of(result_type(problem.dtype))
    transforms = blocks * BLOCK * (depth * INPUT_FLOPS + BLOCK * OUTPUT_FLOPS)
    return Movement(
        flops=2 * sums * depth + transforms,
        global_bytes=x + filters + finish,
        l1_bytes=x + filters + finish + operands + 2 * sums * FLOAT_BYTES,
        # Neighbours' windows overlap by half along a row: L1 gives those.
        l2_bytes=x // 2 + filters + stored,
        dram_bytes=problem.compulsory_bytes
        + transformed_bytes(problem, OUTPUTS, BLOCK),
    )


def _movement(problem: ConvProblem) -> Movement:
    """Add both launches up."""
    return added((filters_movement(problem, OUTPUTS, BLOCK), _main_movement(problem)))


def _cost_us(problem: ConvProblem, ceilings: Ceilings) -> float:
    """Estimate microseconds."""
    launches = (
        (filters_movement(problem, OUTPUTS, BLOCK), TRANSFORM_SLOWDOWN),
        (_main_movement(problem), 1 / EFFICIENCY),
    )
    alone = 2 * ceilings.launch_us + steps(problem) * STEP_US
    return max(total_us(launches, ceilings), alone)


WINOGRAD_F2 = Kernel(
    name="winograd_f2",
    operation="conv",
    summary="Winograd's F(2x2, 3x3), transforms and products in one kernel",
    file="conv/20_winograd_f2.cuh",
    supports=_supports,
    launch=_launch,
    movement=_movement,
    cost_us=_cost_us,
    before=_before,
    workspace=_workspace,
    rounding="winograd_f2",
)
