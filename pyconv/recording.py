"""What happened: the records that trace() collects and PYCONV_VERBOSE=1 prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict, dataclass, field
from typing import Any

from pyconv import _core
from pyconv.protocols import Candidate, Event

__all__ = ["CallRecord", "record", "recording", "trace"]


@dataclass(frozen=True, slots=True)
class CallRecord:
    """One call that ran.

    Parameters
    ----------
    operation : str
        The public function, such as "conv2d".
    device : str
        "cpu" or "cuda".
    algorithm : str
        The algorithm that ran.
    shapes : dict of str to tuple
        Shapes of the arrays, by argument.
    compulsory_bytes : int
        Inputs read once and output written once.
    bytes : dict of str to int
        Predicted bytes by memory level.
    flops : int
        Operations executed.
    events : tuple of Event
        Copies, casts, transfers and fallbacks.
    """

    operation: str
    device: str
    algorithm: str
    shapes: dict[str, tuple[int, ...]]
    compulsory_bytes: int
    bytes: dict[str, int]
    flops: int
    events: tuple[Event, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    def __str__(self) -> str:
        shapes = " ".join(f"{name}{shape}" for name, shape in self.shapes.items())
        levels = " ".join(f"{level}={size}" for level, size in self.bytes.items())
        lines = [
            (
                f"{self.operation} {self.algorithm} on {self.device}: {shapes}; "
                f"compulsory={self.compulsory_bytes} {levels} bytes, {self.flops} flops"
            )
        ]
        lines += [
            f"  {event.kind} of {event.argument}: {event.bytes} bytes, {event.reason}"
            for event in self.events
        ]
        return "\n".join(lines)


_traces: ContextVar[tuple[list[CallRecord], ...]] = ContextVar(
    "pyconv_traces", default=()
)
_VERBOSE = os.environ.get("PYCONV_VERBOSE", "0") not in ("", "0")

if _VERBOSE:
    _core.set_fast_path(False)


def recording() -> bool:
    """Whether anyone wants to know."""
    return _VERBOSE or bool(_traces.get())


def record(
    operation: str,
    device: str,
    candidate: Candidate,
    shapes: dict[str, tuple[int, ...]],
    compulsory_bytes: int,
    events: tuple[Event, ...],
) -> None:
    """Hand one call to every open trace."""
    call = CallRecord(
        operation=operation,
        device=device,
        algorithm=candidate.name,
        shapes=shapes,
        compulsory_bytes=compulsory_bytes,
        bytes=dict(candidate.bytes),
        flops=candidate.flops,
        events=events,
    )
    for calls in _traces.get():
        calls.append(call)
    if _VERBOSE:
        print(call, file=sys.stderr)  # noqa: T201 - asked for by PYCONV_VERBOSE


@contextmanager
def trace() -> Iterator[list[CallRecord]]:
    """Collect a record of every call made inside the block.

    Yields
    ------
    list of CallRecord
        Grows with each call: algorithm, bytes, copies, fallbacks.

    Notes
    -----
    While a trace is open, calls take the long road past the cache of raw calls; their
    times are not those of an untraced program.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> with pc.trace() as calls:
    ...     y = pc.conv2d(np.ones((1, 1, 4, 4)), np.ones((1, 1, 3, 3)))
    >>> calls[0].operation
    'conv2d'
    """
    calls: list[CallRecord] = []
    token = _traces.set((*_traces.get(), calls))
    _core.set_fast_path(False)
    try:
        yield calls
    finally:
        _core.set_fast_path(True)
        _traces.reset(token)
