"""What a call costs when there is almost nothing to compute: 1x1x8x8, kernel 3x3.

Question: does a repeated pyconv.conv2d cost more than PyTorch's under inference_mode?
`python -m benchmarks.ratio` answers it with the two taking turns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import pyconv as pc
from benchmarks.contenders import AUTO
from benchmarks.oracle import conv_error, make_input, tensors
from benchmarks.peers import MAKERS
from pyconv.movement.layers import square

Measure = Callable[[Callable[[], object], int, dict[str, Any]], None]

TINY = square("tiny", "conv", 1, 1, 8, 3)


@pytest.mark.parametrize("name", ["pyconv", "torch-nchw", "scipy-correlate"])
def test_conv2d(
    name: str, measure: Measure, benchmark: Any, request: pytest.FixtureRequest
) -> None:
    """One small convolution, with bias."""
    benchmark.group = "overhead: conv2d 1x1x8x8, 3x3"
    threads = int(request.config.getoption("--threads"))
    layer = (
        TINY
        if not name.startswith("scipy")
        else square("tiny", "same", 1, 1, 8, 3, pad=1)
    )
    try:
        contender = AUTO if name == "pyconv" else MAKERS[name](threads)
    except ImportError as error:
        pytest.skip(f"{name} is not installed: {error}")
    x, w, b = tensors(layer)
    prepared = contender.prepare(layer, x, w, b)
    assert conv_error(layer, x, w, b, prepared.output()) <= 1
    info = {"layer": layer.id, "contender": name, "version": contender.version}
    measure(prepared.run, layer.flops, info)


def test_max_pool2d(measure: Measure, benchmark: Any) -> None:
    """One small pooling."""
    benchmark.group = "overhead: max_pool2d 1x1x8x8, 2x2"
    x = make_input((1, 1, 8, 8))
    assert (pc.max_pool2d(x, 2) == x.reshape(4, 2, 4, 2).max((1, 3))).all()
    info = {"layer": "max_pool2d 1x1x8x8, 2x2", "contender": "pyconv"}
    measure(lambda: pc.max_pool2d(x, 2), 64, info)
