"""Layers: convolutions that keep their weights packed.

A functional call rearranges the weights every time; a layer does it once for each
algorithm its inputs lead to, and leaves the packing out of the choice of algorithm.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import numpy as np

from pyconv import _core
from pyconv.arrays import check_array
from pyconv.conv_arguments import prepare
from pyconv.running import Call, run_conv

__all__ = ["Conv1d", "Conv2d", "Conv3d", "Layer"]

_cached = _core.conv_cached
_serials = count()


class Layer:
    """What the layers of every rank share."""

    rank: int

    def __init__(
        self,
        weight: Any,
        bias: Any = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
        *,
        padding_mode: str = "zeros",
        layout: str = "NCHW",
        activation: str | None = None,
        algorithm: str = "auto",
        accuracy: str = "default",
    ) -> None:
        self._weight = check_array("weight", weight).copy()
        self._bias = None if bias is None else check_array("bias", bias).copy()
        self._window = (stride, padding, dilation, groups, padding_mode, layout)
        self._activation = activation
        self._choice = (algorithm, accuracy)
        self._start()

    def _start(self) -> None:
        """Lock the weights, and begin with nothing packed."""
        for kept in (self._weight, self._bias):
            if isinstance(kept, np.ndarray):
                kept.flags.writeable = False
        # In the cache of calls this layer's calls are nobody else's.
        self._key = (self.rank, next(_serials))
        self._packed: dict[str, Any] = {}

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what belongs to this process and this object."""
        state = self.__dict__.copy()
        del state["_key"], state["_packed"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over weights and parameters; packing starts afresh."""
        self.__dict__.update(state)
        self._start()

    @property
    def weight(self) -> Any:
        """The layer's copy of the filters; read-only."""
        return self._weight

    @property
    def bias(self) -> Any:
        """The layer's copy of the bias, or None; read-only."""
        return self._bias

    def _arguments(self, x: Any, residual: Any, out: Any) -> tuple[Any, ...]:
        """Put a call's arguments in the order of the functional form."""
        return (
            x,
            self._weight,
            self._bias,
            *self._window,
            self._activation,
            residual,
            *self._choice,
            out,
        )

    def _call(self, arguments: tuple[Any, ...]) -> Any:
        """Take the long road: read, plan, pack if need be, run, remember."""
        call = self._prepare(arguments)
        choice = call.choose(keeps_weights=True)
        packed = self._pack(call, choice.plan)
        y = run_conv(call, choice, packed)
        if call.may_be_remembered(choice):
            _core.conv_remember(
                choice.plan, packed, call.shape, call.order, self._key, *arguments
            )
        return y

    def _prepare(self, arguments: tuple[Any, ...], dry: bool = False) -> Call:
        """Read one call's arguments; with `dry` nothing is copied or allocated."""
        (x, weight, bias, stride, padding, dilation, groups) = arguments[:7]
        (mode, layout, activation, residual, algorithm, accuracy, out) = arguments[7:]
        return prepare(
            self.rank,
            x,
            weight,
            bias,
            stride,
            padding,
            dilation,
            groups,
            padding_mode=mode,
            layout=layout,
            activation=activation,
            residual=residual,
            algorithm=algorithm,
            accuracy=accuracy,
            out=out,
            dry=dry,
        )

    def explained(self, x: Any, residual: Any = None, *, out: Any = None) -> Call:
        """Read a call for explain(): nothing is copied or allocated."""
        return self._prepare(self._arguments(x, residual, out), dry=True)

    def _pack(self, call: Call, plan: Any) -> Any:
        """Return the weights packed for a plan, packing them the first time."""
        if not getattr(plan, "packing", "") or call.problem.n == 0:
            return None
        key = f"{plan.isa} {call.problem.dtype} {plan.packing}"
        if key not in self._packed:
            self._packed[key] = call.backend.pack(plan, call.operands["weight"])
        return self._packed[key]

    def __call__(self, x: Any, residual: Any = None, *, out: Any = None) -> Any:
        """Convolve x; arguments, result and errors are the functional form's."""
        arguments = self._arguments(x, residual, out)
        y = _cached(self._key, *arguments)
        return y if y is not None else self._call(arguments)

    def __repr__(self) -> str:
        stride, padding, dilation, groups, mode, layout = self._window
        return (
            f"{type(self).__name__}(weight {self._weight.shape}, stride={stride!r}, "
            f"padding={padding!r}, dilation={dilation!r}, groups={groups!r}, "
            f"padding_mode={mode!r}, layout={layout!r}, "
            f"activation={self._activation!r})"
        )


class Conv1d(Layer):
    """`conv1d` with weights kept packed; see `Conv2d`."""

    rank = 1


class Conv2d(Layer):
    """`conv2d` with weights kept packed between calls.

    Parameters
    ----------
    weight : ndarray, (K, C/groups, R, S)
        Filters; copied, so that later changes to the array do not show.
    bias : ndarray, (K,), optional
        Copied too.
    stride, padding, dilation, groups, padding_mode, layout, activation
        As in `conv2d`.
    algorithm, accuracy : str
        As in `conv2d`.

    Notes
    -----
    ``layer(x, residual=None, *, out=None)`` is ``conv2d(x, weight, bias, ...)`` with the
    weights rearranged (for Winograd: transformed) once for each algorithm that its
    inputs lead to. Plans are cached by input shape. A layer keeps a copy of the weights
    for every such order. Since packing is free here, a layer may choose another
    algorithm than the function.

    Raises
    ------
    TypeError
        For a weight or bias that is no array. All else is checked at the first call,
        with the errors of `conv2d`.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> layer = pc.Conv2d(np.ones((16, 3, 3, 3), np.float32), padding=1)
    >>> layer(np.ones((1, 3, 32, 32), np.float32)).shape
    (1, 16, 32, 32)
    """

    rank = 2


class Conv3d(Layer):
    """`conv3d` with weights kept packed; see `Conv2d`."""

    rank = 3
