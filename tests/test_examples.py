"""The examples do what they say."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module


def test_photograph_draws_what_the_filters_say(tmp_path: Path) -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("matplotlib")
    example, out = load("photograph"), tmp_path / "sheet.png"
    pictures = example.main(["--image", "flower.jpg", "--out", str(out)])
    assert out.read_bytes().startswith(b"\x89PNG")
    taken = pictures["as taken"].astype(np.float64)
    assert set(example.BANK) < set(pictures)
    assert {picture.shape for picture in pictures.values()} == {taken.shape}
    for name, window in example.BANK.items():
        assert window.sum() == pytest.approx(0 if name in example.SIGNED else 1)
        seen = taken[:, 100:115, 200:215]  # under the window at (107, 207)
        expected = (seen * window).sum((1, 2))
        np.testing.assert_allclose(pictures[name][:, 107, 207], expected, atol=1e-5)
    # Blurring takes contrast, sharpening gives some.
    contrast = {name: float(picture.std()) for name, picture in pictures.items()}
    assert contrast["Gaussian"] < contrast["as taken"] < contrast["sharpened"]


def test_unet_keeps_the_published_shapes() -> None:
    pytest.importorskip("sklearn")
    example = load("unet")
    scores, error = example.main(["--size", "188", "--base", "4"])
    assert scores.shape == (1, 2, 4, 4)
    assert error is None
    with pytest.raises(SystemExit):
        example.main(["--size", "200"])


def test_unet_is_pytorchs() -> None:
    pytest.importorskip("sklearn")
    pytest.importorskip("torch", reason="PyTorch is not installed")
    scores, error = load("unet").main(["--size", "204", "--base", "8", "--check"])
    assert scores.shape == (1, 2, 20, 20)
    assert error is not None
    assert error < 2e-5  # Winograd's bound, once: errors of layers hardly add up


def test_wavenet_hears_the_past_alone() -> None:
    example = load("wavenet")
    scores, field, heard = example.main(["--seconds", "0.2", "--channels", "8"])
    assert scores.shape == (1, 256, 3200)
    assert np.isfinite(scores).all()
    assert field == 1025
    assert heard == (800, 800 + field - 1)


def test_lenet5_learns_digits() -> None:
    pytest.importorskip("sklearn")
    assert load("lenet5").main([]) > 0.97
