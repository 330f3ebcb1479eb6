"""Errors, in the user's words: which argument, what it was, what it should have been."""

from __future__ import annotations

__all__ = ["BackendUnavailable", "ShapeError", "UnsupportedAlgorithm"]


class ShapeError(ValueError):
    """Shapes that do not fit together, or a result that could never be held."""


class UnsupportedAlgorithm(ValueError):
    """No algorithm, or not the one asked for, can do this; says why for each."""


class BackendUnavailable(RuntimeError):
    """A device was asked for that is not there; says what is missing."""
