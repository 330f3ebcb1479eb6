"""Layers in words and by name."""

from __future__ import annotations

import pytest

from pyconv.movement.layers import SEQUENCES, Layer
from pyconv.movement.problems import EXAMPLE, layers_named, parse_layer


def test_the_example() -> None:
    layer = parse_layer(EXAMPLE)
    assert layer.x_shape == (32, 64, 56, 56)
    assert layer.w_shape == (64, 64, 3, 3)
    assert layer.y_shape == (32, 64, 56, 56)
    assert parse_layer(EXAMPLE.replace(" ", "").upper()).y_shape == layer.y_shape


@pytest.mark.parametrize(
    ("text", "x", "w", "y"),
    [
        ("h5 r3", (1, 1, 5, 5), (1, 1, 3, 3), (1, 1, 3, 3)),
        ("c4 h9 w7 k6 r3 s1 p1,0 g2", (1, 4, 9, 7), (6, 2, 3, 1), (1, 6, 9, 7)),
        ("w20 r4 u2 c3", (1, 3, 20), (1, 3, 4), (1, 1, 9)),
        ("w20 s4 l3", (1, 1, 20), (1, 1, 4), (1, 1, 11)),
        ("d4 h8 w9 t3 r3 s2", (1, 1, 4, 8, 9), (1, 1, 3, 3, 2), (1, 1, 2, 6, 8)),
        ("d4 t3", (1, 1, 4, 4, 4), (1, 1, 3, 3, 3), (1, 1, 2, 2, 2)),
        ("n2 h11 r3 u1,2 l2", (2, 1, 11, 11), (1, 1, 3, 3), (2, 1, 7, 4)),
    ],
)
def test_words_become_shapes(
    text: str, x: tuple[int, ...], w: tuple[int, ...], y: tuple[int, ...]
) -> None:
    layer = parse_layer(text)
    assert (layer.x_shape, layer.w_shape, layer.y_shape) == (x, w, y)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("n32 c64 q5", "'q' in the problem"),
        ("n32 c", "no letter with a number"),
        ("h5 r3 h6", "stands twice"),
        ("c64 k64 r3", "lacks an extent"),
        ("h56 c64", "lacks the kernel's extent"),
        ("d5 h5 w5 r3 s3", "3 axes and a kernel of 2"),
        ("h5 r3 p1,2,3", "3 numbers for 2 axes"),
        ("n1,2 h5 r3", "takes one number"),
        ("h56,28 r3", "takes one number"),
        ("c64 h56 k64 r3 g0", "must be at least 1"),
        ("n0 h5 r3", "must be at least 1"),
        ("h5 r-3", "no letter with a number"),
        ("", "lacks an extent"),
    ],
)
def test_a_typo_is_one_sentence(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        parse_layer(text)
    assert "\n" not in str(caught.value)


def test_names_find_layers() -> None:
    (layer,) = layers_named("resnet50.conv3_2b")
    assert isinstance(layer, Layer)
    assert (layer.c, layer.kernel) == (128, (3, 3))
    assert len(layers_named("ResNet50.conv3_2")) == 3
    assert layers_named("vgg16") == SEQUENCES["vgg16"]


@pytest.mark.parametrize(
    ("name", "words"),
    [("resnet51.conv1", "resnet50"), ("resnet50.conv9", "conv3_2b")],
)
def test_unknown_names_list_what_there_is(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        layers_named(name)
