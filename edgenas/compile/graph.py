"""The layer graph: what a sub-network computes, with its weights and every shape, independent of torch and of formats.

Writers (ONNX, later TFLite), latency tables and the counts of multiply-accumulates all read this one graph. Layout is
torch's: NCHW tensors, OIHW convolution weights. The operations and their attributes:

=============== ================================================================= ===============================
op              attributes                                                        weights
=============== ================================================================= ===============================
conv            stride, dilation (2); padding (top, left, bottom, right); groups  weight (O,I/groups,H,W), bias?
linear          -                                                                 weight (O,I), bias?
batchnorm       epsilon                                                           gamma, beta, mean, variance (C)
scale_shift     -                                                                 scale, shift (C, broadcastable)
clip            low, high (float or None)                                         -
relu hardswish hardsigmoid sigmoid silu gelu tanh identity sqrt rsqrt             -
mean            axes, keepdims                                                    -
avgpool         kernel, stride (2); padding (4); count_padding                    -
maxpool         kernel, stride, dilation (2); padding (4)                         -
add sub mul div -                                                                 -
matmul          inner (the summed axis' length); batched over all but two axes    -
layernorm       epsilon (over the last axis)                                      gamma, beta (C)
rmsnorm         epsilon (over the last axis)                                      gamma (C)
groupnorm       groups, epsilon                                                   gamma, beta (C)
prelu           -                                                                 slope (C, broadcastable)
resize          mode (nearest, bilinear), align_corners; size is the node's shape -
concat softmax  axis                                                              -
cumsum          axis                                                              -
permute         axes                                                              -
reshape expand  - (the target is the node's shape)                                -
slice           starts, steps (one for each axis)                                 -
gather          - (rows of weight, by integer input)                              weight
equal not_equal - (the result is bool)                                            -
greater less    - (the result is bool)                                            -
cast            - (to the node's dtype)                                           -
constant        -                                                                 value
=============== ================================================================= ===============================

All but ``gather``, the comparisons, ``cast``, ``cumsum``, plain arithmetic and what only moves elements take and give
float32. ``batchnorm`` is gone after :func:`edgenas.compile.fold`; ``scale_shift`` appears only there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgenas.compile.artifact import Array, TensorSpec

Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Node:
    """One operation with one result; the result goes by the node's name.

    Attributes:
        op: Name of the operation, from the table above.
        name: Path of the layer in the sub-network (``blocks.3.depth_conv``), made unique. For a function called in a
            module's ``forward``, the module's path and the operation (``blocks.3.add``).
        inputs: Names of the nodes or graph inputs that it reads.
        shape: Of the result, all dimensions fixed.
        dtype: NumPy name of the result's element type.
        attrs: Settings of the operation.
        weights: Constant operands. They may share memory with the traced module.
    """

    op: str
    name: str
    inputs: tuple[str, ...]
    shape: Shape
    dtype: str = "float32"
    attrs: Mapping[str, Any] = field(default_factory=dict)
    weights: Mapping[str, Array] = field(default_factory=dict)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of a convolution, fully-connected layer or matrix product, without biases; else 0."""
        if self.op == "conv":
            return math.prod(self.shape) * math.prod(self.weights["weight"].shape[1:])
        if self.op == "linear":
            return math.prod(self.shape) * int(self.weights["weight"].shape[1])
        if self.op == "matmul":
            return math.prod(self.shape) * int(self.attrs["inner"])
        return 0


@dataclass(frozen=True, eq=False)
class Graph:
    """A sub-network as a list of nodes, each after those that it reads.

    Attributes:
        nodes: In calling order.
        inputs: What the graph is called with.
        outputs: Names, types and shapes of the results.
        results: For each output, the name of the node (or graph input) that gives it.
        params: Learnable parameters of the traced module, each counted once; folding does not change it.
    """

    nodes: tuple[Node, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    results: tuple[str, ...]
    params: int

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference: convolutions, fully-connected layers, matrix products; no biases."""
        return sum(node.macs for node in self.nodes)

    def readers(self) -> Counter[str]:
        """How often each node or input is read, by nodes and as an output of the graph."""
        counts = Counter(name for node in self.nodes for name in node.inputs)
        counts.update(self.results)
        return counts
