"""Every published layer, every pyconv algorithm, every installed peer, in one run.

Question: how fast is each algorithm on each layer, and how many bytes does it say it
moves? A contender's output is checked against exact float64 sums before it is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from benchmarks.contenders import Pyconv
from benchmarks.oracle import PEER_SLACK, conv_error, tensors
from benchmarks.peers import Contender
from pyconv.movement.layers import Layer

Measure = Callable[[Callable[[], object], int, dict[str, Any]], None]


def test_layer(
    layer: Layer,
    contender: Contender,
    measure: Measure,
    benchmark: Any,
    request: pytest.FixtureRequest,
) -> None:
    """Check, then time."""
    benchmark.group = layer.id
    info: dict[str, Any] = {
        "layer": layer.id,
        "contender": contender.name,
        "version": contender.version,
        "repeat": layer.repeat,
        "flops": layer.flops,
        "compulsory_bytes": layer.compulsory_bytes(),
    }
    rounding = "direct"
    if isinstance(contender, Pyconv):
        prediction = contender.prediction(layer)
        if prediction["reason"]:
            pytest.skip(f"refused: {prediction['reason']}")
        limit = float(request.config.getoption("--limit-ms"))
        if prediction["cost_us"] > 1000 * limit:
            pytest.skip(f"predicted to take longer than {limit:g} ms (--limit-ms)")
        rounding = prediction["rounding"]
        info.update(algorithm=contender.algorithm, predicted=prediction)
    x, w, b = tensors(layer)
    prepared = contender.prepare(layer, x, w, b)
    error = conv_error(layer, x, w, b, prepared.output(), rounding=rounding)
    assert error <= (1 if isinstance(contender, Pyconv) else PEER_SLACK)
    info["error_over_bound"] = error
    measure(prepared.run, layer.flops, info)
