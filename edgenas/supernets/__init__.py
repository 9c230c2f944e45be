"""Super-networks in torch: one set of weights, many sub-networks."""

from edgenas.supernets import bert, vit  # noqa: F401  (they register themselves)
from edgenas.supernets.base import LabelledImages, SuperNetwork
from edgenas.supernets.elasticize import ElasticizedNetwork, elasticize
from edgenas.supernets.mixed_precision import MixedPrecision
from edgenas.supernets.mobilenet_options import MobileNetV3Options
from edgenas.supernets.mobilenet_v3 import MobileNetV3, MobileNetV3SubNetwork
from edgenas.supernets.proxyless import ProxylessNAS
from edgenas.supernets.registry import create, names, register_supernetwork
from edgenas.supernets.resnet50 import ResNet50
from edgenas.supernets.stitched import StitchedNetwork, stitch
from edgenas.supernets.transformer import HATTransformer

__all__ = [
    "ElasticizedNetwork",
    "HATTransformer",
    "LabelledImages",
    "MixedPrecision",
    "MobileNetV3",
    "MobileNetV3Options",
    "MobileNetV3SubNetwork",
    "ProxylessNAS",
    "ResNet50",
    "StitchedNetwork",
    "SuperNetwork",
    "create",
    "elasticize",
    "names",
    "register_supernetwork",
    "stitch",
]
