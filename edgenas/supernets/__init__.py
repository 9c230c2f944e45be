"""Super-networks in torch: one set of weights, many sub-networks."""

from edgenas.supernets.base import LabelledImages, SuperNetwork
from edgenas.supernets.mobilenet_options import MobileNetV3Options
from edgenas.supernets.mobilenet_v3 import MobileNetV3, MobileNetV3SubNetwork
from edgenas.supernets.registry import create, names, register_supernetwork

__all__ = [
    "LabelledImages",
    "MobileNetV3",
    "MobileNetV3Options",
    "MobileNetV3SubNetwork",
    "SuperNetwork",
    "create",
    "names",
    "register_supernetwork",
]
