"""A pooling call: the short road if its raw arguments are known, else the long one."""

from __future__ import annotations

from typing import Any

from pyconv import _core, device_calls
from pyconv.pool_arguments import prepare
from pyconv.running import run_pool

__all__ = ["pool"]

_cached = _core.pool_cached
# Where a plan's arrays are among the raw arguments: x, y and no indices.
_TAKES = (1, device_calls.RESULT, device_calls.NOTHING)


def pool(*raw: Any) -> Any:
    """Pool; `raw` are prepare()'s positional arguments, layout, algorithm and out."""
    result = _cached(*raw)
    return result if result is not None else _read(raw)


def _read(raw: tuple[Any, ...]) -> Any:
    """Take the long road: read, plan, run, and remember if nothing was copied."""
    pooled = device_calls.cached("pool", raw, 1)
    if pooled is not None:
        return pooled
    *arguments, layout, algorithm, out = raw
    call = prepare(*arguments, layout=layout, algorithm=algorithm, out=out)
    choice = call.choose()
    result = run_pool(call, choice)
    if call.may_be_remembered(choice):
        _core.pool_remember(choice.plan, call.shape, call.order, *raw)
    if not isinstance(result, tuple):  # of maxima and their indices
        device_calls.remember("pool", raw, call, choice, _TAKES)
    return result
