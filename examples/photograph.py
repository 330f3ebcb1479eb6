"""A photograph through a small bank of filters, as one sheet of pictures.

    python examples/photograph.py [--image china.jpg] [--out photograph.png]

The pictures are scikit-learn's china.jpg and flower.jpg. Every filter runs over each
colour on its own, all of them in one call: a convolution of three groups whose windows
are all as large as the largest. Gaussian and motion blur, Sobel's slopes, the Laplacian
and the image sharpened by it; the length of the slope is made of the two.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_sample_image

import pyconv as pc

Array = np.ndarray[Any, Any]

SIZE = 15  # of the largest window


def gaussian(sigma: float) -> Array:
    """Weigh by distance; the weights add up to one."""
    at = np.arange(SIZE) - SIZE // 2
    row = np.exp(-(at**2) / (2 * sigma**2))
    weights: Array = np.outer(row, row) / row.sum() ** 2
    return weights


def motion(angle: float) -> Array:
    """Average along a line through the centre, as a shaken camera does."""
    along = np.linspace(-(SIZE // 2), SIZE // 2, 8 * SIZE)
    window = np.zeros((SIZE, SIZE))
    rows = np.rint(SIZE // 2 - along * np.sin(angle)).astype(int)
    columns = np.rint(SIZE // 2 + along * np.cos(angle)).astype(int)
    np.add.at(window, (rows, columns), 1 / len(along))
    return window


def centred(window: Any) -> Array:
    """Put a small window into the middle of a large one."""
    small = np.asarray(window, dtype=float)
    return np.pad(small, (SIZE - len(small)) // 2)


SOBEL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
LAPLACIAN = np.array([[0, 1, 0], [1, -4, 1], [0, 1, 0]])

BANK = {
    "Gaussian": gaussian(2.5),
    "motion blur": motion(np.pi / 6),
    "Sobel x": centred(SOBEL),
    "Sobel y": centred(SOBEL.T),
    "Laplacian": centred(LAPLACIAN),
    "sharpened": centred(np.pad([[1]], 1) - LAPLACIAN),
}
SIGNED = {"Sobel x", "Sobel y", "Laplacian"}  # shown around grey


def filtered(image: Array) -> dict[str, Array]:
    """Run the bank over an image (3, H, W); each answer has its shape."""
    windows = np.stack(list(BANK.values()))[:, None]
    weight = np.concatenate([windows] * 3).astype(image.dtype)
    y = pc.conv2d(image, weight, padding="same", padding_mode="reflect", groups=3)
    planes = y.reshape(3, len(BANK), *image.shape[1:])
    found = {name: planes[:, i] for i, name in enumerate(BANK)}
    found["slope"] = np.hypot(found["Sobel x"], found["Sobel y"])
    return found


def picture(name: str, image: Array) -> Array:
    """Map an answer to colours between 0 and 1, channels last."""
    if name in SIGNED:
        image = 0.5 + 2 * image
    elif name == "slope":
        image = 4 * image
    return np.moveaxis(image, 0, -1).clip(0, 1)


def sheet(pictures: dict[str, Array], path: str) -> None:
    """Draw the pictures in two rows, each under its name."""
    figure = Figure(figsize=(16, 6.2), layout="constrained")
    places = figure.subplots(2, 4)
    for place, (name, image) in zip(places.flat, pictures.items(), strict=True):
        place.imshow(picture(name, image))
        place.set_title(name)
        place.axis("off")
    figure.savefig(path, dpi=100)


def main(arguments: list[str] | None = None) -> dict[str, Array]:
    """Filter, report, draw; returns every picture by its name."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument(
        "--image", choices=("china.jpg", "flower.jpg"), default="china.jpg"
    )
    parser.add_argument("--out", default="photograph.png")
    options = parser.parse_args(arguments)
    pixels = load_sample_image(options.image)
    image = np.ascontiguousarray(np.moveaxis(pixels, -1, 0), np.float32) / 255
    with pc.trace() as calls:
        start = time.perf_counter()
        found = filtered(image)
        seconds = time.perf_counter() - start
    print(calls[0])
    print(
        f"{len(BANK)} filters of {SIZE}x{SIZE} over {image.shape}: {1e3 * seconds:.1f} ms"
    )
    pictures = {"as taken": image, **found}
    sheet(pictures, options.out)
    print(f"wrote {options.out}")
    return pictures


if __name__ == "__main__":
    main()
