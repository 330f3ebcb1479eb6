"""The layers and poolings that a GPU is timed on."""

from __future__ import annotations

from dataclasses import replace

from pyconv.movement.layers import square

__all__ = ["COUNTED", "LAYERS", "POOLS"]

# Layers that differ in what bounds them; batch 32 unless the layer is large.
LAYERS = (
    square("resnet50", "conv1", 3, 64, 224, 7, stride=2, pad=3).with_batch(32),
    square("resnet50", "layer1-1x1", 64, 256, 56, 1).with_batch(32),
    square("resnet50", "layer1-3x3", 64, 64, 56, 3, pad=1).with_batch(32),
    square("resnet50", "layer2-3x3", 128, 128, 28, 3, pad=1).with_batch(32),
    square("resnet50", "layer2-down", 128, 128, 56, 3, stride=2, pad=1).with_batch(32),
    square("resnet50", "layer3-3x3", 256, 256, 14, 3, pad=1).with_batch(32),
    square("resnet50", "layer4-3x3", 512, 512, 7, 3, pad=1).with_batch(32),
    square("vgg16", "conv2_2", 128, 128, 112, 3, pad=1).with_batch(8),
    square("unet", "enc1", 64, 64, 512, 3, pad=1).with_batch(1),
    square("mobilenetv2", "dw", 144, 144, 56, 3, pad=1, groups=144).with_batch(32),
    square("convnext", "dw7", 96, 96, 56, 7, pad=3, groups=96).with_batch(32),
    replace(  # one axis: a short filter for each channel, as state-space models have
        square("mamba", "conv1d", 2048, 2048, 2048, 4, groups=2048).with_batch(4),
        spatial=(1, 2048),
        kernel=(1, 4),
        padding=(0, 3),
    ),
)
# What Nsight Compute counts: products, large ones, one channel a group.
COUNTED = tuple(
    layer
    for layer in LAYERS
    if layer.name in {"layer1-1x1", "layer2-3x3", "conv2_2", "dw"}
)
POOLS = (  # kind, (n, c, h, w), kernel, stride, padding
    ("max", (32, 64, 112, 112), 3, 2, 1),
    ("max", (32, 128, 112, 112), 2, 2, 0),
    ("avg", (32, 256, 56, 56), 2, 2, 0),
    ("avg", (32, 2048, 7, 7), 7, 1, 0),
)
