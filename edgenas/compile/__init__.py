"""From a sub-network to an artifact: trace its layers, fold batch norms, write the file, check it against torch.

Importing this package is cheap; torch, onnx and onnxruntime are loaded when something that needs them is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgenas.compile.artifact import Artifact, TensorSpec, sha256_of

if TYPE_CHECKING:
    from edgenas.compile.compiler import compile_module
    from edgenas.compile.folding import fold
    from edgenas.compile.formats import Format, format_named, format_names, register_format
    from edgenas.compile.graph import Graph, Node
    from edgenas.compile.host import host_outputs
    from edgenas.compile.skeleton import Skeleton, make_skeleton
    from edgenas.compile.tracer import trace
    from edgenas.compile.verification import check

_LAZY = {
    "Format": "formats",
    "Graph": "graph",
    "Node": "graph",
    "Skeleton": "skeleton",
    "check": "verification",
    "compile_module": "compiler",
    "fold": "folding",
    "format_named": "formats",
    "format_names": "formats",
    "host_outputs": "host",
    "make_skeleton": "skeleton",
    "register_format": "formats",
    "trace": "tracer",
}

__all__ = [
    "Artifact",
    "Format",
    "Graph",
    "Node",
    "Skeleton",
    "TensorSpec",
    "check",
    "compile_module",
    "fold",
    "format_named",
    "format_names",
    "host_outputs",
    "make_skeleton",
    "register_format",
    "sha256_of",
    "trace",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
