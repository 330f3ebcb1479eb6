"""python -m pyconv warmup: compile CUDA kernels before they are asked for."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import pyconv as pc
from pyconv.backends import CudaBackend
from pyconv.cli.calls import described
from pyconv.cuda.warmup import architecture_of, warm
from pyconv.planning import choose
from pyconv.protocols import Problem

__all__ = ["warm_up"]

Read = Callable[[list[str]], argparse.Namespace]

# What is compiled where no call is described: layers of ResNet-50 and MobileNetV2.
_USUAL = (
    ("conv2d", (8, 3, 224, 224), "--weight 64,3,7,7 --stride 2 --padding 3"),
    ("conv2d", (8, 64, 56, 56), "--weight 64,64,3,3 --padding 1"),
    ("conv2d", (8, 64, 56, 56), "--weight 256,64,1,1"),
    ("conv2d", (8, 144, 56, 56), "--weight 144,1,3,3 --padding 1 --groups 144"),
    ("max_pool2d", (8, 64, 112, 112), "--kernel-size 3 --stride 2 --padding 1"),
    ("avg_pool2d", (8, 256, 56, 56), "--kernel-size 2"),
)


def _usual(read: Read) -> Iterator[argparse.Namespace]:
    """Describe the usual calls, in both orders and three types."""
    for operation, (n, c, h, w), rest in _USUAL:
        for layout, shape in (("NCHW", (n, c, h, w)), ("NHWC", (n, h, w, c))):
            size = ",".join(map(str, shape))
            for dtype in ("float32", "float16", "bfloat16"):
                words = f"warmup {operation} --input {size} {rest} --layout {layout}"
                yield read([*words.split(), "--dtype", dtype])


def _problems(told: pc.Explanation) -> list[Problem]:
    """List what is launched for a call: its problem, or those of its phases."""
    phases = [part.explanation for part in told.parts if part.what == "phase"]
    return [one.problem for one in phases] or [told.problem]


def warm_up(options: argparse.Namespace, read: Read) -> None:
    """Compile what the calls, or each of the usual ones, would launch on a GPU.

    `read` reads a command line.
    """
    architectures = [architecture_of(name) for name in options.arch or [None]]
    backend = CudaBackend()
    usual = options.operation is None and options.layer is None
    for call in _usual(read) if usual else [options]:
        asked, call.algorithm = call.algorithm, "auto"  # the CPU has others
        for _, function, arguments in described(call):
            for problem in _problems(pc.explain(function, **arguments)):
                plan = choose(problem, backend, asked).plan
                for architecture in architectures:
                    print(warm(plan, architecture), flush=True)
