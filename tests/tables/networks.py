"""A small super-network for latency tables."""

from __future__ import annotations

import json
from typing import Any

from edgenas.supernets import SuperNetwork, create

NAME = "mobilenet_v3"
OPTIONS: dict[str, Any] = {
    "kernel_sizes": [3, 5], "expand_ratios": [2, 3], "depths": [1, 2], "resolutions": [16, 24],
    "base_widths": [8, 8, 16, 24, 48, 64], "strides": [2, 2], "activations": ["relu", "h_swish"],
    "se": [False, True], "num_classes": 10, "in_channels": 1, "stem_stride": 1,
}  # fmt: skip
#: For the command line.
ARGUMENTS = ["--supernet", NAME, *(part for k, v in OPTIONS.items() for part in ("--option", f"{k}={json.dumps(v)}"))]


def small() -> SuperNetwork:
    """16 choices or so, a network in milliseconds."""
    return create(NAME, **OPTIONS)
