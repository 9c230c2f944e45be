"""How operations of the layer graph are written as ONNX: one function for each, registered as it is imported."""

from edgenas.compile.onnx_operators import elementwise, layers, moves, norms, resizing

__all__ = ["elementwise", "layers", "moves", "norms", "resizing"]
