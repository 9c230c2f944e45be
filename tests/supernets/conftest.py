from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from edgenas.data import Dataset, load_dataset
from edgenas.supernets import MobileNetV3, create


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads that wait for each other on a busy computer make tests slow."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load_dataset("digits")


def tiny(seed: int = 0) -> MobileNetV3:
    """Two stages of one or two narrow blocks: a step of training takes milliseconds."""
    torch.manual_seed(seed)
    net = create(
        "mobilenet_v3",
        kernel_sizes=(3, 5),
        expand_ratios=(2, 3),
        depths=(1, 2),
        resolutions=(8, 12),
        num_classes=10,
        in_channels=1,
        base_widths=(8, 8, 8, 16, 32, 32),
        strides=(2, 1),
        activations=("relu", "h_swish"),
        se=(False, True),
        stem_stride=1,
    )
    if not isinstance(net, MobileNetV3):
        raise TypeError("mobilenet_v3 makes something else")
    return net
