"""Malformed calls: the right kind of error, in the user's words, before any work.

None may take five seconds or grow the process by 512 MB, and afterwards the library
still answers rightly.
"""

from __future__ import annotations

import re
import resource
import time

import numpy as np
import pytest

import pyconv as pc
from tests import bad_calls, bad_columns, bad_grads, bad_pools, oracle
from tests.bad_calls import F32, B, Bad, W, X, Y

TABLE = [
    *bad_calls.TABLE,
    *bad_pools.TABLE,
    *bad_grads.TABLE,
    *bad_columns.TABLE,
]


def test_the_table_is_long_and_names_are_unique() -> None:
    assert len(TABLE) >= 200
    assert len({bad.name for bad in TABLE}) == len(TABLE)


@pytest.mark.parametrize("bad", TABLE, ids=[bad.name for bad in TABLE])
def test_refused(bad: Bad) -> None:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.monotonic()
    # Twice: the second call must not find anything the first left in a cache.
    for _ in range(2):
        with pytest.raises(bad.error) as caught:
            bad.call()
        assert re.search(bad.words, str(caught.value)), str(caught.value)
    assert time.monotonic() - start < 5
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    assert grown < 512 * 1024, f"{grown} KiB"


def test_shape_errors_are_value_errors() -> None:
    assert issubclass(pc.ShapeError, ValueError)
    assert issubclass(pc.UnsupportedAlgorithm, ValueError)
    assert issubclass(pc.BackendUnavailable, RuntimeError)
    with pytest.raises(pc.ShapeError):
        pc.conv2d(X, W[:, :3])


def test_still_right_afterwards() -> None:
    for bad in TABLE:
        with pytest.raises(bad.error):
            bad.call()
    assert oracle.conv(X, W, B).worst(pc.conv2d(X, W, B)) <= 1
    value, _ = oracle.max_pool(X, 2)
    np.testing.assert_array_equal(pc.max_pool2d(X, 2), value)


def test_a_parameter_is_not_confused_with_its_equal() -> None:
    """1 == True == 1.0: a cached call must not answer for the others."""
    for _ in range(3):
        pc.conv2d(X, W, stride=1, groups=1)
        for wrong in (True, 1.0, F32(1)):
            with pytest.raises(TypeError, match="stride"):
                pc.conv2d(X, W, stride=wrong)
            with pytest.raises(TypeError, match="groups"):
                pc.conv2d(X, W, groups=wrong)


def test_a_step_past_64_bits() -> None:
    """One window, whatever the step: right, or a ValueError."""
    for step in (2**31, 2**62, 2**63 - 1, 2**64):
        try:
            y = pc.conv2d(X, W, stride=step)
        except ValueError as error:
            assert "stride" in str(error)  # noqa: PT017 (either is right)
        else:
            np.testing.assert_array_equal(y, Y[:, :, :1, :1])


def test_bad_numbers_are_not_bad_input() -> None:
    x = np.full((1, 4, 5, 5), np.nan, F32)
    assert np.isnan(pc.conv2d(x, W)).all()
    assert np.isnan(pc.max_pool2d(x, 2)).all()
    assert np.isnan(pc.conv2d(np.full_like(x, np.inf), np.zeros_like(W))).all()
