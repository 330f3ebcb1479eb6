"""How far a sum may lie from the exact one, by what a kernel says of its rounding."""

from __future__ import annotations

from tests.emulation.elements import Array
from tests.emulation.problems import ConvCase, conv_sum
from tests.winograd_error import WINOGRAD_STEPS, winograd_amplification

__all__ = ["scale_and_steps"]

# Points of csrc/cuda/winograd.cuh: pairs, outputs of a tile along an axis.
WINOGRAD_FORMS = {"winograd_f2": ((1.0,), 2), "winograd_f4": ((0.75, 1.5), 4)}


def scale_and_steps(
    case: ConvCase, x: Array, weight: Array, rounding: str
) -> tuple[Array, int]:
    """Give the size of what is summed, and how many roundings it goes through.

    Of one chain of sums, that of the products. Of a Winograd form, whatever lies in a tile
    rounds with all of it: products of a sample's largest inputs, as in tests/oracle.py.
    """
    terms = (case.c // case.groups) * weight[0, 0].size
    if rounding not in WINOGRAD_FORMS:  # a chain, whatever its order
        return conv_sum(case, abs(x), abs(weight)), terms
    pairs, m = WINOGRAD_FORMS[rounding]
    space = (2, 3, 4)
    largest = abs(x).max(space).reshape(case.n, case.groups, -1)
    filters = abs(weight).sum(space).reshape(case.groups, -1, weight.shape[1])
    product = (largest[:, :, None] * filters).sum(-1).reshape(case.n, case.k, 1, 1, 1)
    return product * winograd_amplification(pairs, m, 3) ** 2, terms + WINOGRAD_STEPS
