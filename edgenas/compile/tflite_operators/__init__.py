"""How operations of the layer graph are written as TFLite: one function for each, registered as it is imported."""

from edgenas.compile.tflite_operators import elementwise, layers, moves, norms, pooling, resizing

__all__ = ["elementwise", "layers", "moves", "norms", "pooling", "resizing"]
