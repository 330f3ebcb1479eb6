"""Layers in words: ``n32 c64 h56 w56 k64 r3 s3 p1``, or a published network's by name."""

from __future__ import annotations

import re

from pyconv.movement.layers import SEQUENCES, Ints, Layer

__all__ = ["EXAMPLE", "LETTERS", "layers_named", "parse_layer"]

EXAMPLE = "n32 c64 h56 w56 k64 r3 s3 p1"
LETTERS = {
    "n": "samples",
    "c": "channels",
    "d": "depth",
    "h": "height",
    "w": "width",
    "k": "filters",
    "t": "kernel's depth",
    "r": "kernel's height",
    "s": "kernel's width",
    "p": "padding",
    "u": "stride",
    "l": "dilation",
    "g": "groups",
}
# Of all axes, or one for each: p1, p1,2.
_PER_AXIS = {"p": 0, "u": 1, "l": 1}
_EXTENTS = ("d", "h", "w")
_KERNEL = ("t", "r", "s")


def _words(text: str) -> dict[str, Ints]:
    """Split into letters and their integers."""
    found: dict[str, Ints] = {}
    rest = re.sub(r"[\s_]+", " ", text.strip().lower())
    while rest:
        word = re.match(r"([a-z]+)(\d+(?:,\d+)*) ?", rest)
        if word is None:
            raise ValueError(
                f"{rest.split()[0]!r} in the problem {text!r} is no letter with a number, "
                f"as in {EXAMPLE!r}"
            )
        letter, numbers = word.groups()
        if letter not in LETTERS:
            known = ", ".join(f"{key} ({what})" for key, what in LETTERS.items())
            raise ValueError(
                f"{letter!r} in the problem {text!r} is unknown; there are: {known}"
            )
        if letter in found:
            raise ValueError(f"{letter!r} stands twice in the problem {text!r}")
        values = tuple(map(int, numbers.split(",")))
        if len(values) > 1 and letter not in _PER_AXIS:
            raise ValueError(f"{letter!r} in the problem {text!r} takes one number")
        if min(values) < 1 and letter != "p":
            raise ValueError(f"{letter!r} in the problem {text!r} must be at least 1")
        found[letter] = values
        rest = rest[word.end() :]
    return found


def _extents(found: dict[str, Ints], letters: tuple[str, ...]) -> Ints:
    """Collect extents from the outermost axis in; a missing one is as its neighbour."""
    extents: list[int] = []
    for letter in letters:
        if letter in found:
            extents.append(found[letter][0])
        elif extents:
            extents.append(extents[-1])
    return tuple(extents)


def parse_layer(text: str) -> Layer:
    """Read a convolution such as ``n32 c64 h56 w56 k64 r3 s3 p1``.

    Parameters
    ----------
    text : str
        Letters with numbers, in any order, spaces or not: n samples (1 if left out),
        c channels (1), d h w extents, k filters (1), t r s the kernel's, p padding on
        both sides (0), u stride (1), l dilation (1), g groups (1). d makes it a 3-d
        convolution, w without h a 1-d one. A missing inner extent is as the one before
        it: h56 r3 is a square under a square. p, u and l may have a number for each
        axis: p1,2.

    Returns
    -------
    Layer
        Batch and options filled in, the text its name.

    Raises
    ------
    ValueError
        For a letter that is unknown, stands twice or lacks its number; for extents that
        are missing or do not fit each other.

    Examples
    --------
    >>> parse_layer("c64 h56 k128 r3 p1 u2").y_shape
    (1, 128, 28, 28)
    """
    found = _words(text)
    spatial = _extents(found, _EXTENTS)
    kernel = _extents(found, _KERNEL)
    rank = len(spatial)
    if rank == 0 or not kernel:
        missing = "an extent (h)" if rank == 0 else "the kernel's extent (r)"
        raise ValueError(f"the problem {text!r} lacks {missing}, as in {EXAMPLE!r}")
    if rank == 1 and "s" not in found:
        kernel = kernel[:1]  # r3 serves for a line too
    if len(kernel) != rank:
        raise ValueError(
            f"the problem {text!r} has {rank} axes and a kernel of {len(kernel)}"
        )

    def axes(letter: str) -> Ints:
        values = found.get(letter, (_PER_AXIS[letter],))
        values = values * rank if len(values) == 1 else values
        if len(values) != rank:
            raise ValueError(
                f"{letter} in the problem {text!r} has {len(values)} numbers for "
                f"{rank} axes"
            )
        return values

    def one(letter: str) -> int:
        return found.get(letter, (1,))[0]

    return Layer(
        network="",
        name=text.strip(),
        rank=rank,
        n=one("n"),
        c=one("c"),
        k=one("k"),
        spatial=spatial,
        kernel=kernel,
        stride=axes("u"),
        padding=axes("p"),
        dilation=axes("l"),
        groups=one("g"),
    )


def layers_named(name: str) -> tuple[Layer, ...]:
    """Find layers of the published networks: ``resnet50.conv3_2b``.

    Parameters
    ----------
    name : str
        A network, for all its layers; or a network, a dot and a layer's name or how it
        begins, as ``resnet50.conv3_2`` for the three of that block.

    Raises
    ------
    ValueError
        For a name there is not; lists those there are.

    Examples
    --------
    >>> [layer.name for layer in layers_named("resnet50.conv3_2")]
    ['conv3_2a', 'conv3_2b', 'conv3_2c']
    """
    network, _, wanted = name.strip().lower().partition(".")
    if network not in SEQUENCES:
        raise ValueError(
            f"no network is called {network!r}; there are: {', '.join(SEQUENCES)}"
        )
    layers = SEQUENCES[network]
    exact = tuple(layer for layer in layers if layer.name == wanted)
    found = exact or tuple(layer for layer in layers if layer.name.startswith(wanted))
    if not found:
        names = ", ".join(layer.name for layer in layers)
        raise ValueError(f"{network} has no layer {wanted!r}; there are: {names}")
    return found
