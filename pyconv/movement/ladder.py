"""The ladder: one problem by every algorithm, and what each changes in how data moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from inspect import signature
from typing import Any

from pyconv.inspection import Explanation, explain
from pyconv.movement.profile import Profile, profile
from pyconv.problem import ConvProblem
from pyconv.protocols import Candidate

__all__ = [
    "CHANGES",
    "Ladder",
    "Rung",
    "climb",
    "heading",
    "ladder",
    "refuse_without_algorithms",
    "rung_lines",
    "rungs_of",
    "runs_of",
]

MOST_SECONDS = 10.0  # that an algorithm is expected to take, or it is left out
PHASES = "phases"  # what explain() calls the convolutions of an adjoint

# What a rung changes against the one before, bottom first. The last ones of each device
# stand beside the ladder: they serve problems of one kind, or types of their own.
CHANGES: dict[str, dict[str, str]] = {
    "cpu": {
        "reference": (
            "The definition: one output after another, each product waiting for the last "
            "and fetching both its operands."
        ),
        "reordered": (
            "The loop over a row's outputs is innermost: products no longer wait for each "
            "other, neighbours are read as they lie, and a weight serves a whole row."
        ),
        "cache_tiled": (
            "The loops are cut into tiles: a row in L1 serves several filters, and a tile "
            "of rows stays in L2 for all; sums still go to L1 and back for every product."
        ),
        "im2col": (
            "The windows are written out as a matrix, and sums stay in registers until "
            "they are finished: a blocked matrix product, at the price of that matrix."
        ),
        "implicit_gemm": (
            "The matrix is made a block at a time and multiplied while it is in L2: it is "
            "never written to memory."
        ),
        "direct": (
            "There is no matrix: register tiles read the input where it lies, through "
            "pointers to the rows of their windows."
        ),
        "winograd_staged": (
            "Fewer products: tiles of input and filters are transformed, multiplied point "
            "by point, and transformed back, each stage over all tiles before the next."
        ),
        "winograd": (
            "The three stages of Winograd follow each other on tiles that stay in L2."
        ),
        "depthwise": "Beside the ladder: for groups of one channel, of which none is reused.",
        "grouped": "Beside the ladder: filters of several small groups share the lanes.",
        "few_channels": "Beside the ladder: pixels in the lanes where channels are few.",
        "dot_product": (
            "Beside the ladder: for integers and halves, by instructions that multiply "
            "neighbouring channels at once."
        ),
        "widened": "Beside the ladder: halves as float32, a few samples at a time.",
        "real_channels": "Beside the ladder: complex numbers as more real channels.",
        "fft": "Beside the ladder: a product of spectra, for kernels of thousands of taps.",
    },
    "cuda": {
        "naive": (
            "The definition: one thread an output, each product fetching both its operands "
            "from wherever they lie."
        ),
        "coalesced": (
            "Threads of a warp are neighbours in memory: what they ask for together is a "
            "few whole sectors."
        ),
        "cached_weights": (
            "Weights come from constant memory, which hands one word to a whole warp."
        ),
        "shared_halo": (
            "A block loads its tile of input with the halo into shared memory once; every "
            "window reads it there."
        ),
        "register_tile": (
            "A thread sums several pixels of several filters: an operand from shared "
            "memory serves many products."
        ),
        "vector_loads": "Loads and stores are 16 bytes wide: a quarter of the requests.",
        "bank_padding": (
            "Rows in shared memory are padded: threads of a warp ask different banks, and "
            "channels go through in turn, any type and shape."
        ),
        "async_pipeline": (
            "The next channels are copied to shared memory while these are multiplied."
        ),
        "im2col_gemm": (
            "The windows are written out as a matrix in device memory, then multiplied: "
            "what the halo saved is moved again, for a plain matrix product."
        ),
        "implicit_gemm": (
            "The same product, its left matrix gathered from the input as it is needed."
        ),
        "winograd_f2": "Fewer products: tiles of 2 x 2 outputs from 16 instead of 36.",
        "winograd_f4": "Fewer still: tiles of 4 x 4 outputs from 36 products, not 144.",
        "depthwise": (
            "Beside the ladder: for groups of one channel; rows are on their way before "
            "the first is used."
        ),
    },
}


@dataclass(frozen=True, slots=True)
class Rung:
    """One algorithm on the problem.

    Parameters
    ----------
    name : str
        The algorithm.
    change : str
        What it changes against the rung before, in a sentence.
    profile : Profile or None
        Its figures; None where it did not run.
    reason : str
        Why it did not; empty where it did.
    """

    name: str
    change: str
    profile: Profile | None
    reason: str = ""

    @property
    def peak_share(self) -> float | None:
        """Give the operations it executes a second, over what the device can.

        None where it did not run, or the device's rate for it was not measured.
        """
        told = self.profile
        if told is None or told.flops_us is None:
            return None
        return told.flops_us / told.warm.median_us

    def to_dict(self) -> dict[str, Any]:
        """Return plain data; the ceilings and the other candidates are the ladder's."""
        data: dict[str, Any] = {
            "name": self.name,
            "change": self.change,
            "reason": self.reason,
        }
        if self.profile is not None:
            whole = self.profile.to_dict()
            for shared in ("explanation", "ceilings"):
                del whole[shared]
            data |= whole
            data["peak_share"] = self.peak_share
            data["predicted_us"] = self.profile.predicted_us
        return data


@dataclass(frozen=True, slots=True)
class Ladder:
    """One problem by every algorithm.

    Parameters
    ----------
    rungs : tuple of Rung
        From the definition upwards.
    chosen : str
        What ``algorithm="auto"`` takes.
    """

    rungs: tuple[Rung, ...]
    chosen: str

    @property
    def ran(self) -> tuple[Rung, ...]:
        """Those that ran."""
        return tuple(rung for rung in self.rungs if rung.profile is not None)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        data: dict[str, Any] = {
            "chosen": self.chosen,
            "rungs": [rung.to_dict() for rung in self.rungs],
        }
        if self.ran:
            told = self.ran[0].profile
            assert told is not None
            data["ceilings"] = told.ceilings.to_dict()
            data["operation"] = told.explanation.operation
            data["device"] = told.explanation.device
            data["problem"] = asdict(told.explanation.problem)
            data["compulsory_bytes"] = told.explanation.compulsory_bytes
        return data

    def to_json(self) -> str:
        """Return JSON text."""
        return json.dumps(self.to_dict(), indent=2)

    def __str__(self) -> str:
        lines = [heading()]
        for rung in self.rungs:
            lines += rung_lines(rung, self.chosen)
        return "\n".join(lines)


def heading() -> str:
    """Write the titles over `rung_lines`."""
    return (
        f"  {'rung':<16}{'us':>10}{'GFLOP/s':>10}{'of peak':>9}{'redundancy':>12}"
        f"{'L1 MB':>16}{'L2 MB':>16}{'DRAM MB':>16}  bound"
    )


def rung_lines(rung: Rung, chosen: str) -> list[str]:
    """Write one rung: its figures, bytes predicted / measured, and its sentence."""
    mark = ">" if rung.name == chosen else " "
    told = rung.profile
    if told is None:
        return [f"{mark} {rung.name:<16}left out: {rung.reason}"]
    cells = "".join(
        f"{one.predicted / 1e6:>8.4g}/"
        + (
            f"{'-':<7}"
            if one.measured.value is None
            else f"{one.measured.value / 1e6:<7.4g}"
        )
        for one in told.levels
    )
    share = "-" if rung.peak_share is None else f"{100 * rung.peak_share:.3g} %"
    return [
        (
            f"{mark} {rung.name:<16}{told.warm.median_us:>10.4g}{told.gflops:>10.4g}"
            f"{share:>9}{told.redundancy:>12.3g}{cells}  {told.bound}"
        ),
        f"      {rung.change}",
    ]


def rungs_of(candidates: Sequence[Candidate], device: str) -> list[Candidate]:
    """Order candidates as rungs; what has no sentence comes last, in its own order."""
    places = {name: place for place, name in enumerate(CHANGES[device])}
    return sorted(candidates, key=lambda one: places.get(one.name, len(places)))


def refuse_without_algorithms(function: Callable[..., Any]) -> None:
    """Raise TypeError for what takes no ``algorithm``: there is no ladder of it."""
    if "algorithm" not in signature(function).parameters:
        name = getattr(function, "__name__", type(function).__name__)
        raise TypeError(f"{name} has no algorithms to choose from: profile it instead")


def runs_of(
    told: Explanation, function: Callable[..., Any], most_seconds: float = MOST_SECONDS
) -> list[tuple[Candidate, str, str]]:
    """List the rungs of a call with what to ask for, and why not where it does not run.

    Raises
    ------
    TypeError
        For an operation that has no algorithms to choose from.
    """
    refuse_without_algorithms(function)
    found = []
    for one in rungs_of(told.candidates, told.device):
        algorithm, reason = one.name, one.reason
        if one.name == PHASES:  # each phase has an algorithm of its own
            algorithm = "auto"
            if told.chosen != PHASES:
                reason = "auto takes the whole in one piece"
        if not reason and one.cost_us > most_seconds * 1e6:
            reason = f"the model expects {one.cost_us / 1e6:.3g} s for one call"
        found.append((one, algorithm, reason))
    return found


def climb(
    function: Callable[..., Any],
    *args: Any,
    seconds: float = 0.2,
    most_seconds: float = MOST_SECONDS,
    **kwargs: Any,
) -> Iterator[Rung]:
    """Profile every algorithm on one call, and give each as it is done.

    Parameters
    ----------
    function, *args, **kwargs
        As `profile` takes them, without ``algorithm``.
    seconds : float
        How long each is repeated while it is timed.
    most_seconds : float
        An algorithm that the model expects to take longer for one call is left out.

    Yields
    ------
    Rung
        From the definition upwards.

    Raises
    ------
    TypeError, ValueError
        What `explain` and the call itself raise.
    """
    told = explain(function, *args, **kwargs)
    sentences = CHANGES[told.device] if isinstance(told.problem, ConvProblem) else {}
    for one, algorithm, reason in runs_of(told, function, most_seconds):
        change = sentences.get(one.name, one.summary)
        if reason:
            yield Rung(one.name, change, None, reason)
            continue
        given = {**kwargs, "algorithm": algorithm}
        found = profile(function, *args, seconds=seconds, **given)
        yield Rung(one.name, change, found)


def ladder(
    function: Callable[..., Any],
    *args: Any,
    seconds: float = 0.2,
    most_seconds: float = MOST_SECONDS,
    **kwargs: Any,
) -> Ladder:
    """Run one call by every algorithm, and say what each does with the data.

    Parameters
    ----------
    function : callable
        What `profile` takes, if it has an ``algorithm`` argument.
    *args, **kwargs
        Its arguments, without ``algorithm``.
    seconds : float
        How long each algorithm is repeated while it is timed.
    most_seconds : float
        An algorithm that the model expects to take longer for one call is left out.

    Returns
    -------
    Ladder
        Prints as a table: time, operations a second, share of the peak, bytes moved for
        every compulsory one, bytes by level predicted / measured, what binds.

    Raises
    ------
    TypeError, ValueError
        What `explain` and the call itself raise.

    Examples
    --------
    >>> import numpy as np, pyconv as pc
    >>> x, w = np.ones((1, 4, 9, 9), np.float32), np.ones((4, 4, 3, 3), np.float32)
    >>> steps = pc.ladder(pc.conv2d, x, w, seconds=0.001)
    >>> [rung.name for rung in steps.ran][:3]
    ['reference', 'reordered', 'cache_tiled']
    """
    rungs = climb(function, *args, seconds=seconds, most_seconds=most_seconds, **kwargs)
    return Ladder(tuple(rungs), explain(function, *args, **kwargs).chosen)
