# The compiled module: plans in, arrays out. A `record` is the bytes of a ConvProblem or
# PoolProblem (csrc/core/problem.hpp, pyconv/problem.py).

from collections.abc import Sequence
from typing import Any, TypeAlias, TypedDict, final

import numpy as np
from numpy.typing import DTypeLike, NDArray

_Array: TypeAlias = NDArray[Any]
# Another machine than this one: cores, bytes of L1, L2 and L3.
_Host: TypeAlias = tuple[int, int, int, int] | None

class _Bytes(TypedDict):
    l1: int
    l2: int
    dram: int

class _Candidate(TypedDict):
    name: str
    summary: str
    rounding: str
    reason: str
    cost_us: float
    pack_us: float
    workspace_bytes: int
    flops: int
    bytes: _Bytes
    of_layer: _Candidate | None

class _Machine(TypedDict):
    cores: int
    l1_bytes: int
    l2_bytes: int
    l3_bytes: int
    isa: str
    vector_bytes: int
    model: str

class _OutputPool(TypedDict):
    held_bytes: int
    in_use_bytes: int
    limit_bytes: int
    hits: int
    misses: int

class _FastPath(TypedDict):
    entries: int
    limit: int
    hits: int
    misses: int

version: str

# What all plans show; no class of the module.
class _Plan:
    @property
    def algorithm(self) -> str: ...
    @property
    def isa(self) -> str: ...
    @property
    def workspace_bytes(self) -> int: ...
    @property
    def blocking(self) -> dict[str, int]: ...

@final
class ConvPlan(_Plan):
    @property
    def packed_bytes(self) -> int: ...
    @property
    def packing(self) -> str: ...

@final
class PackedWeight:
    @property
    def nbytes(self) -> int: ...

@final
class WeightPlan(_Plan): ...

@final
class InputPlan(_Plan): ...

@final
class PhasesPlan:
    @property
    def algorithms(self) -> tuple[str, ...]: ...

@final
class PoolPlan(_Plan): ...

@final
class PoolGradPlan(_Plan): ...

@final
class UnaryPlan(_Plan): ...

@final
class Counters:
    def __init__(self, events: list[tuple[int, int]]) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def read(self) -> tuple[list[int], int, int]: ...

def peak_flops(itemsize: int, seconds: float) -> float: ...
def peak_dots(element: str, seconds: float) -> float: ...
def bandwidth(sweep: str, bytes: int, seconds: float) -> float: ...
def load_sweep(memory: _Array) -> None: ...
def isa_names() -> tuple[str, ...]: ...
def active_isa() -> str: ...
def set_isa(name: str) -> None: ...
def machine() -> _Machine: ...
def conv_algorithms() -> tuple[tuple[str, str], ...]: ...
def conv_candidates(record: bytes, host: _Host = None) -> list[_Candidate]: ...
def conv_plan(record: bytes, algorithm: str) -> ConvPlan: ...
def conv_pack(plan: ConvPlan, weight: _Array) -> PackedWeight | None: ...
def conv_run(
    plan: ConvPlan,
    x: _Array,
    weight: _Array,
    bias: _Array | None,
    residual: _Array | None,
    y: _Array,
    packed: PackedWeight | None = None,
) -> None: ...
def weight_algorithms() -> tuple[tuple[str, str], ...]: ...
def weight_candidates(record: bytes, host: _Host = None) -> list[_Candidate]: ...
def weight_plan(record: bytes, algorithm: str) -> WeightPlan: ...
def weight_run(plan: WeightPlan, x: _Array, grad: _Array, weight: _Array) -> None: ...
def input_algorithms() -> tuple[tuple[str, str], ...]: ...
def input_candidates(record: bytes, host: _Host = None) -> list[_Candidate]: ...
def input_plan(record: bytes, algorithm: str) -> InputPlan: ...
def input_run(
    plan: InputPlan,
    grad: _Array,
    weight: _Array,
    bias: _Array | None,
    residual: _Array | None,
    x: _Array,
) -> None: ...
def phases_plan(
    phases: Sequence[tuple[ConvPlan, int, int, int, bool]],
    turned: tuple[int, int, int, Sequence[int], Sequence[int]] | None,
) -> PhasesPlan: ...
def input_cached(*arguments: object) -> _Array | None: ...
def input_remember(
    plan: InputPlan | PhasesPlan,
    shape: Sequence[int],
    order: Sequence[int] | None,
    *arguments: object,
) -> None: ...
def transposed_cached(*arguments: object) -> _Array | None: ...
def transposed_remember(
    plan: InputPlan | PhasesPlan,
    shape: Sequence[int],
    order: Sequence[int] | None,
    *arguments: object,
) -> None: ...
def pool_algorithms() -> tuple[tuple[str, str], ...]: ...
def pool_candidates(record: bytes, host: _Host = None) -> list[_Candidate]: ...
def pool_plan(record: bytes, algorithm: str) -> PoolPlan: ...
def pool_run(
    plan: PoolPlan, x: _Array, y: _Array, indices: NDArray[np.int64] | None
) -> None: ...
def pool_grad_algorithms() -> tuple[tuple[str, str], ...]: ...
def pool_grad_candidates(record: bytes, host: _Host = None) -> list[_Candidate]: ...
def pool_grad_plan(record: bytes, algorithm: str) -> PoolGradPlan: ...
def pool_grad_run(
    plan: PoolGradPlan,
    grad: _Array,
    indices: NDArray[np.int64] | None,
    x: _Array | None,
    y: _Array | None,
    dx: _Array,
) -> None: ...
def unary_algorithms(operation: str) -> tuple[tuple[str, str], ...]: ...
def unary_candidates(
    operation: str, record: bytes, host: _Host = None
) -> list[_Candidate]: ...
def unary_plan(operation: str, record: bytes, algorithm: str) -> UnaryPlan: ...
def unary_run(plan: UnaryPlan, source: _Array, target: _Array) -> None: ...
def unary_cached(*arguments: object) -> _Array | None: ...
def unary_remember(
    plan: UnaryPlan,
    out_shape: tuple[int, ...],
    out_order: tuple[int, ...] | None,
    /,
    *arguments: object,
) -> None: ...
def empty(
    shape: Sequence[int], order: Sequence[int] | None, dtype: DTypeLike
) -> _Array: ...
def set_bfloat16(type_number: int) -> None: ...
def element_types() -> list[tuple[int, int, int]]: ...
def widen(dtype: int, source: _Array, target: _Array) -> None: ...
def narrow(dtype: int, source: _Array, target: _Array) -> None: ...
def output_pool() -> _OutputPool: ...
def empty_output_pool() -> int: ...
def set_output_pool_limit(limit_bytes: int) -> None: ...
def get_num_threads() -> int: ...
def set_num_threads(count: int) -> None: ...
def conv_cached(
    rank: object,
    x: object,
    weight: object,
    bias: object,
    stride: object,
    padding: object,
    dilation: object,
    groups: object,
    padding_mode: object,
    layout: object,
    activation: object,
    residual: object,
    algorithm: object,
    accuracy: object,
    out: object,
    /,
) -> _Array | None: ...
def conv_remember(
    plan: ConvPlan,
    packed: PackedWeight | None,
    out_shape: tuple[int, ...],
    out_order: tuple[int, ...] | None,
    /,
    *arguments: object,
) -> None: ...
def pool_cached(
    name: object,
    x: object,
    kernel_size: object,
    stride: object,
    padding: object,
    dilation: object,
    ceil_mode: object,
    count_include_pad: object,
    divisor_override: object,
    norm_type: object,
    return_indices: object,
    layout: object,
    algorithm: object,
    out: object,
    /,
) -> _Array | tuple[_Array, _Array] | None: ...
def pool_remember(
    plan: PoolPlan,
    out_shape: tuple[int, ...],
    out_order: tuple[int, ...] | None,
    /,
    *arguments: object,
) -> None: ...
def weight_cached(
    rank: object,
    x: object,
    weight_size: object,
    grad: object,
    stride: object,
    padding: object,
    dilation: object,
    groups: object,
    layout: object,
    algorithm: object,
    out: object,
    /,
) -> _Array | None: ...
def weight_remember(
    plan: WeightPlan,
    out_shape: tuple[int, ...],
    out_order: tuple[int, ...] | None,
    /,
    *arguments: object,
) -> None: ...
def pool_grad_cached(*arguments: object) -> _Array | None: ...
def pool_grad_remember(
    plan: PoolGradPlan,
    out_shape: tuple[int, ...],
    out_order: tuple[int, ...] | None,
    /,
    *arguments: object,
) -> None: ...
def set_fast_path(enabled: bool) -> None: ...
def fast_path_info() -> _FastPath: ...
def clear_fast_path() -> None: ...
