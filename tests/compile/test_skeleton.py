"""Weight-free artifacts: the same graph in far fewer bytes, with numbers that no processor stumbles over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from edgenas_agent.filling import fill
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgenas import supernets
from edgenas.compile import Artifact, compile_module, host_outputs, sha256_of
from edgenas.compile.artifact import TensorSpec
from edgenas.compile.exporter import export_onnx
from edgenas.compile.onnx_host import run_onnx
from edgenas.compile.skeleton import leave_out, make_skeleton
from edgenas.compile.weights import Role, dense_tensors
from edgenas.errors import CompileError, HostError, UsageError
from tests.compile.tflite_models import tflite_network

RNG = np.random.default_rng(0)
X = np.random.default_rng(1).standard_normal((1, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def largest(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The largest sub-network of the official MobileNetV3 super-network: about 31 MB."""
    return _mobilenet(tmp_path_factory.mktemp("largest"), seed=0)


def _mobilenet(folder: Path, seed: int, largest: bool = True) -> Artifact:
    torch.manual_seed(seed)
    net = supernets.create("ofa_mbv3_d234_e346_k357_w1.0")
    config = net.space.extremes()[-1 if largest else 0]
    module = net.extract(config)
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d):
            # As after training: no two channels alike.
            for values, low in (
                (part.running_mean, -0.5),
                (part.running_var, 0.2),
                (part.weight, 0.2),
                (part.bias, -0.5),
            ):
                values.data = low + torch.rand_like(values)
    return compile_module(module, [net.input_spec(config)], folder, check=False)


def test_a_large_candidate_takes_a_thousandth_of_its_bytes(largest: Artifact) -> None:
    assert largest.size_bytes > 20e6
    skeleton = make_skeleton(largest)
    filled = skeleton.artifact
    assert skeleton.share < 0.001
    assert skeleton.filled_bytes > 0.99 * largest.size_bytes
    assert filled.path.name == f"{filled.sha256}.onnx"
    assert sha256_of(filled.path.read_bytes()) == filled.sha256 != largest.sha256
    assert filled.path.stat().st_size == filled.size_bytes == largest.size_bytes
    assert filled.metadata["filled_from"] == largest.sha256
    assert b"".join(fill(skeleton.recipe, largest.size_bytes)) == filled.path.read_bytes()


def test_nothing_but_weights_is_another(largest: Artifact) -> None:
    true, filled = (_without_weights(path) for path in (largest.path, make_skeleton(largest).artifact.path))
    assert len(true.graph.node) > 100
    assert true.SerializeToString(deterministic=True) == filled.SerializeToString(deterministic=True)


def _without_weights(path: Path) -> Any:
    model = onnx.load(path)
    onnx.checker.check_model(model)
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT and len(tensor.raw_data) >= 32:
            tensor.raw_data = b""
    return model


def test_activations_stay_ordinary_numbers_through_a_deep_network(largest: Artifact) -> None:
    model = onnx.load(make_skeleton(largest).artifact.path)
    inner = [
        name for node in model.graph.node for name in node.output if name not in {o.name for o in model.graph.output}
    ]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in inner)
    names = [*inner, *(spec.name for spec in largest.outputs)]
    feed = {spec.name: spec.random() for spec in largest.inputs}
    values = dict(zip(names, run_onnx(model.SerializeToString(), feed, names), strict=True))
    for name, value in values.items():
        magnitude = np.abs(value)
        assert np.isfinite(value).all(), name
        assert 1e-3 < magnitude.max() < 100, name
        assert not ((magnitude > 0) & (magnitude < np.finfo(np.float32).tiny)).any(), name
    assert np.ptp(values[largest.outputs[0].name]) > 0.01


def test_other_weights_of_the_same_graph_become_the_same_file(tmp_path: Path) -> None:
    one, two = (_mobilenet(tmp_path, seed, largest=False) for seed in (0, 1))
    assert one.sha256 != two.sha256
    assert make_skeleton(one).artifact.sha256 == make_skeleton(two).artifact.sha256


def test_another_graph_becomes_another_file(tmp_path: Path) -> None:
    nets = [nn.Sequential(nn.Linear(8, 32), activation(), nn.Linear(32, 4)).eval() for activation in (nn.ReLU, nn.Tanh)]
    made = [compile_module(net, [TensorSpec("x", "float32", (1, 8))], tmp_path) for net in nets]
    assert len({make_skeleton(artifact).artifact.sha256 for artifact in made}) == 2


# ------------------------------------------------------------------------------------------ what must not be touched


def _model(nodes: list[Any], constants: dict[str, Any], shape: Any = (1, 8), **more: Any) -> bytes:
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [y, *more.pop("outputs", ())], [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    domains = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return bytes(helper.make_model(graph, opset_imports=domains, ir_version=8, **more).SerializeToString())


def _floats(*shape: int) -> Any:
    return RNG.standard_normal(shape).astype(np.float32)


def _loop(weight: str) -> Any:
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Mul", ["state", weight], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, None),
        ],
    )
    return helper.make_node("Loop", ["steps", "", "m"], ["y"], body=body)


def _sparse() -> Any:
    weight = _floats(8, 16)
    weight[:, :9] = 0
    return weight


def _with(value: float) -> Any:
    weight = _floats(8, 16)
    weight[3, 3] = value
    return weight


MATMUL = helper.make_node("MatMul", ["x", "w"], ["y"])
INNER = helper.make_node("MatMul", ["x", "w"], ["m"])
KEPT: dict[str, bytes] = {
    "a shape": _model([helper.make_node("Reshape", ["x", "s"], ["y"])], {"s": np.ones(8, np.int64)}),
    "an operand of a plain product": _model([helper.make_node("Mul", ["x", "c"], ["y"])], {"c": _floats(64, 8)}),
    "a mask": _model(
        [helper.make_node("Softmax", ["x"], ["p"]), helper.make_node("Add", ["p", "c"], ["y"])], {"c": _floats(64, 8)}
    ),
    "a small one": _model([MATMUL], {"w": _floats(7, 1)}, (1, 7)),
    "many zeros": _model([MATMUL], {"w": _sparse()}),
    "a denormal number": _model([MATMUL], {"w": _with(1e-40)}),
    "an infinite number": _model([MATMUL], {"w": _with(np.inf)}),
    "not a number": _model([MATMUL], {"w": _with(np.nan)}),
    "an output as well": _model(
        [MATMUL], {"w": _floats(8, 16)}, outputs=[helper.make_tensor_value_info("w", TensorProto.FLOAT, (8, 16))]
    ),
    "another use as well": _model(
        [INNER, helper.make_node("Gather", ["w", "i"], ["g"]), helper.make_node("Add", ["m", "g"], ["y"])],
        {"w": _floats(8, 8), "i": np.array([0])},
    ),
    "a use in a loop": _model([INNER, _loop("w")], {"w": _floats(8, 8), "steps": np.array(2)}),
    "an operator of someone else": _model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], domain="own")], {"w": _floats(8, 8)}
    ),
    "scales of a quantisation": _model(
        [
            helper.make_node("DequantizeLinear", ["w", "s", "z"], ["f"], axis=1),
            helper.make_node("MatMul", ["x", "f"], ["y"]),
        ],
        {"w": np.zeros((8, 64), np.int8), "s": np.abs(_floats(64)), "z": np.zeros(64, np.int8)},
    ),
    "no constant at all": _model([helper.make_node("Relu", ["x"], ["y"])], {}),
}  # fmt: skip


@pytest.mark.parametrize("case", KEPT)
def test_what_may_matter_is_kept(case: str) -> None:
    recipe, filled, filled_bytes = leave_out(KEPT[case], ".onnx")
    assert filled_bytes == 0
    assert filled == KEPT[case] == b"".join(fill(recipe, len(filled)))


# ----------------------------------------------------------------------------------------------- what other tools make


def _constant_nodes() -> bytes:
    value = helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(_floats(8, 16)))
    return _model([value, MATMUL], {})


def _packed_floats() -> bytes:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, (8, 16), _floats(128).tolist())
    model = onnx.ModelProto.FromString(_model([MATMUL], {}))
    model.graph.initializer.append(tensor)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("data", [_constant_nodes(), _packed_floats()], ids=["Constant node", "float_data"])
def test_weights_are_found_wherever_onnx_keeps_them(data: bytes) -> None:
    (tensor,) = dense_tensors(data, ".onnx")
    assert (tensor.length, tensor.role, tensor.fan_in) == (512, Role.WEIGHT, 8)
    _, filled, _ = leave_out(data, ".onnx")
    one, two = (run_onnx(model, {"x": X}, ["y"])[0] for model in (data, filled))
    assert not np.array_equal(one, two)
    assert 0.01 < np.abs(two).max() < 10


def test_the_general_exporter_s_files_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transformer by torch's exporter: transposed weights, sums as nodes, layer norms."""

    class Text(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(500, 64)
            self.layer = nn.TransformerEncoderLayer(64, 4, 256, batch_first=True, norm_first=True)
            self.head = nn.Linear(64, 500)

        def forward(self, words: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = self.head(self.layer(self.table(words)))
            return result

    words = TensorSpec("words", "int64", (1, 12))
    monkeypatch.setattr(torch.backends.mha, "_is_fastpath_enabled", False)  # one operation that ONNX does not have
    data = export_onnx(Text().eval(), [words], ["y"])
    recipe, filled, filled_bytes = leave_out(data, ".onnx")
    assert filled_bytes > 0.9 * len(data)
    assert len(recipe) < 0.05 * len(data)
    (y,) = run_onnx(filled, {"words": words.random()}, ["y"])
    assert np.isfinite(y).all()
    assert 0.01 < np.abs(y).max() < 100


@pytest.mark.parametrize("way", ["dynamic", "QDQ", "QOperator"])
def test_quantised_weights_are_left_out_and_scales_are_not(tmp_path: Path, way: str) -> None:
    quantization = pytest.importorskip("onnxruntime.quantization")
    net = nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.Flatten(), nn.Linear(1024, 128)).eval()
    spec = TensorSpec("x", "float32", (1, 3, 8, 8))
    source = compile_module(net, [spec], tmp_path)
    target = tmp_path / "int8.onnx"
    if way == "dynamic":
        quantization.quantize_dynamic(source.path, target)
    else:

        class Reader(quantization.CalibrationDataReader):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                self.left: Iterator[Any] = iter([{"x": spec.random(seed)} for seed in range(4)])

            def get_next(self) -> Any:
                return next(self.left, None)

        form = getattr(quantization.QuantFormat, way)
        quantization.quantize_static(source.path, target, Reader(), quant_format=form, per_channel=True)
    data = target.read_bytes()
    assert {"int8", "uint8"} & {tensor.dtype for tensor in dense_tensors(data, ".onnx")}
    _, filled, filled_bytes = leave_out(data, ".onnx")
    assert filled_bytes > 150_000
    name = source.outputs[0].name
    y = run_onnx(filled, {"x": spec.random()}, [name])[0]
    assert np.isfinite(y).all()
    assert np.ptp(y) > 0
    before, after = (
        {t.name: numpy_helper.to_array(t) for t in onnx.ModelProto.FromString(model).graph.initializer}
        for model in (data, filled)
    )
    kept = [n for n in before if "scale" in n or "zero_point" in n]
    assert len(kept) >= 4
    assert all(np.array_equal(before[n], after[n]) for n in kept)


@pytest.mark.parametrize("weights", ["float32", "float16", "int8"])
def test_a_tflite_model_keeps_its_structure_and_runs(weights: str) -> None:
    interpreters = pytest.importorskip("ai_edge_litert.interpreter")
    schema = pytest.importorskip("ai_edge_litert.schema_py_generated")
    data = tflite_network(weights, channels=96)
    recipe, filled, filled_bytes = leave_out(data, ".tflite")
    assert len(filled) == len(data)
    assert filled_bytes > 0.95 * len(data)
    assert len(recipe) < 0.02 * len(data)
    outputs, structures = [], []
    for model in (data, filled):
        interpreter = interpreters.Interpreter(model_content=model, num_threads=1)
        interpreter.allocate_tensors()
        (taken,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
        image = np.random.default_rng(0).standard_normal(taken["shape"])
        image = (image * 20).astype(np.int8) if weights == "int8" else image.astype(np.float32)
        interpreter.set_tensor(taken["index"], image)
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(made["index"]).astype(np.float64))
        structures.append(_tflite_structure(schema, model))
    assert structures[0] == structures[1]
    assert not np.array_equal(outputs[0], outputs[1])
    assert np.isfinite(outputs[1]).all()
    assert np.ptp(outputs[1]) > 0


def _tflite_structure(schema: Any, data: bytes) -> Any:
    """Everything of a model but the values of its large constants; those of the shape have to be the same."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray):
            return (value.dtype.str, value.shape, value.tobytes() if value.nbytes < 32 else b"")
        if isinstance(value, list):
            return [plain(item) for item in value]
        return {n: plain(v) for n, v in vars(value).items()} if hasattr(value, "__dict__") else value

    return plain(schema.ModelT.InitFromObj(schema.Model.GetRootAs(data)))


def test_tflite_constants_of_unknown_use_are_kept() -> None:
    data = tflite_network("float32")
    names = {tensor.length for tensor in dense_tensors(data, ".tflite")}
    assert 8 not in names  # the shape
    assert len(dense_tensors(data, ".tflite")) == 6


# ------------------------------------------------------------------------------------------------------- wrong files

GOOD = {".onnx": _model([MATMUL], {"w": _floats(8, 16)}), ".tflite": tflite_network("int8", channels=8)}


@given(
    st.sampled_from(sorted(GOOD)),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=4),
    st.data(),
)
@settings(max_examples=300, deadline=None)
def test_a_damaged_file_is_a_typed_error_or_ranges_inside_it(suffix: str, changes: Any, draw: Any) -> None:
    data = bytearray(GOOD[suffix])
    for place, value in changes:
        data[place % min(len(data), 2000)] = value
    del data[draw.draw(st.integers(0, len(data))) :]
    try:
        tensors = dense_tensors(bytes(data), suffix)
    except CompileError:
        return
    end = 0
    for tensor in tensors:
        assert end <= tensor.offset
        end = tensor.offset + tensor.length
    assert end <= len(data)


def test_what_cannot_be_done_is_said(tmp_path: Path, largest: Artifact) -> None:
    other = tmp_path / "model.pt2"
    other.write_bytes(b"torch")
    with pytest.raises(UsageError, match=r"\.pt2"):
        make_skeleton(other)
    with pytest.raises(HostError, match="cannot be read"):
        make_skeleton(tmp_path / "absent.onnx")
    garbage = tmp_path / "garbage.onnx"
    garbage.write_bytes(RNG.bytes(1000))
    with pytest.raises(CompileError, match="not valid ONNX"):
        make_skeleton(garbage)
    changed = tmp_path / largest.path.name
    changed.write_bytes(largest.path.read_bytes()[:-1] + b"!")
    with pytest.raises(HostError, match="changed"):
        make_skeleton(Artifact(changed, largest.sha256, largest.size_bytes, "onnx", "fp32", (), ()))


def test_a_file_alone_will_do(tmp_path: Path) -> None:
    path = tmp_path / "users.onnx"
    path.write_bytes(GOOD[".onnx"])
    skeleton = make_skeleton(path, tmp_path / "artifacts")
    assert skeleton.artifact.path.parent == tmp_path / "artifacts"
    assert skeleton.artifact.format == "onnx"
    assert skeleton.artifact.metadata == {"filled_from": sha256_of(GOOD[".onnx"])}


def test_the_host_can_run_what_the_board_will(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 4)).eval()
    artifact = compile_module(net, [TensorSpec("x", "float32", (1, 8))], tmp_path)
    (y,) = host_outputs(make_skeleton(artifact).artifact, [X])
    assert y.shape == (1, 4)
    assert np.abs(y).min() > 0
