"""The pooling layers of the published networks: pyconv's algorithms and PyTorch.

Checked against float64 before timing: maxima exactly, averages within rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.contenders import PoolContender
from benchmarks.oracle import make_input, pool_error
from benchmarks.pool_shapes import PoolLayer

Measure = Callable[[Callable[[], object], int, dict[str, Any]], None]


def test_pool(
    pool_layer: PoolLayer, pool: PoolContender, measure: Measure, benchmark: Any
) -> None:
    """Check, then time."""
    benchmark.group = pool_layer.id
    x = make_input(pool_layer.x_shape)
    prepared = pool.prepare(pool_layer, x)
    error = pool_error(pool_layer, x, prepared.output())
    assert error <= 1
    info = {
        "layer": pool_layer.id,
        "contender": pool.name,
        "version": pool.version,
        "flops": pool_layer.flops,
        "compulsory_bytes": pool_layer.compulsory_bytes(),
        "predicted": pool.prediction(pool_layer),
        "error_over_bound": error,
    }
    measure(prepared.run, pool_layer.flops, info)
