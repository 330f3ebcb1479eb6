"""pyconv: hand-written convolution and pooling kernels behind a NumPy-compatible API."""

from __future__ import annotations

from pyconv import grad
from pyconv._core import version as __version__
from pyconv.adaptive_pooling import (
    adaptive_avg_pool1d,
    adaptive_avg_pool2d,
    adaptive_avg_pool3d,
    adaptive_max_pool1d,
    adaptive_max_pool2d,
    adaptive_max_pool3d,
    global_avg_pool,
    global_max_pool,
)
from pyconv.backends import algorithms, device
from pyconv.columns import col2im, im2col
from pyconv.control import (
    empty_output_pool,
    get_num_threads,
    output_pool_info,
    set_num_threads,
    set_output_pool_limit,
)
from pyconv.convolution import conv1d, conv2d, conv3d
from pyconv.errors import BackendUnavailable, ShapeError, UnsupportedAlgorithm
from pyconv.folding import fold_batch_norm
from pyconv.inspection import Explanation, Info, Part, explain, info
from pyconv.layers import Conv1d, Conv2d, Conv3d
from pyconv.movement import Ceilings, Ladder, Profile, ceilings, ladder, profile
from pyconv.pooling import (
    avg_pool1d,
    avg_pool2d,
    avg_pool3d,
    lp_pool1d,
    lp_pool2d,
    lp_pool3d,
    max_pool1d,
    max_pool2d,
    max_pool3d,
)
from pyconv.protocols import Candidate, Event
from pyconv.recording import CallRecord, trace
from pyconv.transposed import conv_transpose1d, conv_transpose2d, conv_transpose3d
from pyconv.unpooling import max_unpool1d, max_unpool2d, max_unpool3d

__all__ = [
    "BackendUnavailable",
    "CallRecord",
    "Candidate",
    "Ceilings",
    "Conv1d",
    "Conv2d",
    "Conv3d",
    "Event",
    "Explanation",
    "Info",
    "Ladder",
    "Part",
    "Profile",
    "ShapeError",
    "UnsupportedAlgorithm",
    "__version__",
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "algorithms",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "ceilings",
    "col2im",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "device",
    "empty_output_pool",
    "explain",
    "fold_batch_norm",
    "get_num_threads",
    "global_avg_pool",
    "global_max_pool",
    "grad",
    "im2col",
    "info",
    "ladder",
    "lp_pool1d",
    "lp_pool2d",
    "lp_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_unpool1d",
    "max_unpool2d",
    "max_unpool3d",
    "output_pool_info",
    "profile",
    "set_num_threads",
    "set_output_pool_limit",
    "trace",
]
