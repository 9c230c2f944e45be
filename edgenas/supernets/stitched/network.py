"""The super-network of stitched anchors: which anchor begins, which one goes on, and where."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edgenas.compile.artifact import TensorSpec
from edgenas.errors import SuperNetworkError
from edgenas.spaces import Choice, SearchSpace, Value
from edgenas.supernets.elastic import ElasticNetwork
from edgenas.supernets.elasticize import rules  # noqa: F401  (they register themselves)
from edgenas.supernets.elasticize.calls import Call
from edgenas.supernets.elasticize.network import class_count, hold_tensors, input_specs
from edgenas.supernets.elasticize.plain import ElasticizedSubNetwork
from edgenas.supernets.elasticize.program import Program, Ref, TensorRef, references, replaced
from edgenas.supernets.elasticize.sources import Example, load_program
from edgenas.supernets.layers import Weights
from edgenas.supernets.registry import register_supernetwork
from edgenas.supernets.stitched.anchors import Anchor, Cut, make_anchor
from edgenas.supernets.stitched.layers import activation_rows, fit_layer, stitching_layer


class StitchedNetwork(ElasticNetwork):
    """Anchors and stitching layers; made by :func:`edgenas.supernets.stitch`.

    Configurations: ``route`` is an anchor (``"0"``) or two neighbours (``"0-1"``: anchor 0 begins, anchor 1 goes on),
    ``place`` the number of the cut where the second takes over.

    Args:
        anchors: At least two, from small to large, with inputs and outputs of the same shapes.
        options: To make it again from.

    Raises:
        SuperNetworkError: The anchors do not go together.
    """

    def __init__(self, anchors: Sequence[Anchor], options: Mapping[str, Any]) -> None:
        _require_alike(anchors)
        self.pairs = [(first, first + 1) for first in range(len(anchors) - 1)]
        places = min(len(anchor.cuts) for anchor in anchors)
        routes = [str(number) for number in range(len(anchors))]
        stitched = [f"{first}-{second}" for first, second in self.pairs]
        ordered = [route for both in zip(routes, [*stitched, ""], strict=True) for route in both if route]
        space = SearchSpace(
            [Choice("route", ordered), Choice("place", tuple(range(1, places + 1)), {"route": stitched})], "stitched"
        )
        super().__init__("stitched", options, space)
        self.anchors, self.places = tuple(anchors), places
        for number, anchor in enumerate(anchors):
            hold_tensors(self, anchor.program, f"anchor{number}.")
        self.stitches = nn.ModuleDict()
        for first, second in self.pairs:
            layers = nn.ModuleDict()
            for place in range(1, places + 1):
                layers[str(place)] = stitching_layer(self._cut(first, place), self._cut(second, place))
            self.stitches[_pair_name(first, second)] = layers
        classes = class_count(self.program)
        if classes is not None:
            self.num_classes = classes

    @property
    def program(self) -> Program:
        """The first anchor's."""
        return self.anchors[0].program

    def input_specs(self, config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """Inputs for one example."""
        return input_specs(self.program)

    def input_spec(self, config: Mapping[str, Any]) -> TensorSpec:
        """The first of :meth:`input_specs`."""
        return self.input_specs(config)[0]

    def forward(self, *inputs: Any, config: Mapping[str, Any] | None = None) -> Any:
        """What a configuration (the largest anchor where none is given) computes; it may come as the last input."""
        if config is None and len(inputs) > len(self.program.inputs):
            *first, config = inputs
            inputs = tuple(first)
        return self.in_place(config, *inputs)

    def fit(self, batches: Iterable[Sequence[Tensor]]) -> None:
        """Set every stitching layer to the least-squares map between what its two anchors compute there.

        Args:
            batches: Inputs of the anchors; what comes after them in a batch (labels) is left out. A few hundred images
                are enough.

        Raises:
            SuperNetworkError: There are no batches.
        """
        wanted = [sorted({self._cut(number, place).value for place in range(1, self.places + 1)})
                  for number in range(len(self.anchors))]  # fmt: skip
        runners = [self._runner(number, names) for number, names in enumerate(wanted)]
        seen: list[dict[str, list[Tensor]]] = [{name: [] for name in names} for names in wanted]
        count = 0
        for batch in batches:
            inputs = [tensor.cpu() for tensor in batch[: len(self.program.inputs)]]
            for names, runner, held in zip(wanted, runners, seen, strict=True):
                with torch.no_grad():
                    for name, value in zip(names, runner(*inputs), strict=True):
                        held[name].append(activation_rows(value))
            count += 1
        if not count:
            raise SuperNetworkError("Stitching layers cannot be fitted on no inputs.")
        for first, second in self.pairs:
            for place in range(1, self.places + 1):
                before, after = self._cut(first, place).value, self._cut(second, place).value
                layer = self.get_submodule(f"stitches.{_pair_name(first, second)}.{place}")
                fit_layer(layer, torch.cat(seen[first][before]), torch.cat(seen[second][after]))

    def _cut(self, number: int, place: int) -> Cut:
        """An anchor's cut for a place; an anchor with more cuts is cut in proportion."""
        cuts = self.anchors[number].cuts
        return cuts[math.ceil(place * len(cuts) / self.places) - 1]

    def _runner(self, number: int, results: Sequence[str]) -> nn.Module:
        """An anchor that gives out values from its middle."""
        calls = self._renamed(number, self.anchors[number].calls_for(results))
        sub = self._built({}, calls, [_value(number, name) for name in results], list)
        sub.load_state_dict({key: self._tensor(key).detach() for key in sub.state_dict()}, assign=True)
        return sub.eval()

    def _plain(self, canonical: Mapping[str, Value]) -> nn.Module:
        return self._built(canonical, *self._route(canonical), self.program.result_form)

    def _weights(self, canonical: Mapping[str, Value]) -> Weights:
        calls, _ = self._route(canonical)
        keys = {item.key for call in calls for item in references([call.args, call.named])
                if isinstance(item, TensorRef)}  # fmt: skip
        counts = [key.replace(".running_mean", ".num_batches_tracked") for key in keys if key.endswith(".running_mean")]
        for key in sorted({*keys, *counts}):
            yield key, self._tensor(key)

    def _route(self, canonical: Mapping[str, Value]) -> tuple[list[Call], list[str]]:
        """Calls and names of results of a configuration."""
        first, _, second = str(canonical["route"]).partition("-")
        start = int(first)
        if not second:
            anchor = self.anchors[start]
            calls = self._renamed(start, anchor.calls)
            return calls, [_value(start, name) for name in anchor.program.results]
        end, place = int(second), int(canonical["place"])
        before, after = self._cut(start, place), self._cut(end, place)
        calls = self._renamed(start, self.anchors[start].calls_for([before.value]))
        path = f"stitches.{_pair_name(start, end)}.{place}"
        given = (Ref(_value(start, before.value)), TensorRef(f"{path}.weight"), TensorRef(f"{path}.bias"))
        name = _value(end, after.value)  # it stands for what the second anchor would have computed
        if len(before.shape) == 4:
            calls.append(Call(name, F.conv2d, (*given, 1, 0, 1), {"groups": 1}))
        else:
            calls.append(Call(name, F.linear, given, {}))
        results = self.anchors[end].program.results
        calls += self._renamed(end, self.anchors[end].calls_for(results, after.value))
        return calls, [_value(end, result) for result in results]

    def _built(
        self, config: Mapping[str, Value], calls: Sequence[Call], results: Sequence[str], form: Any
    ) -> nn.Module:
        tensors = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        shapes = {key: tuple(tensor.shape) for key, tensor in tensors.items()}
        names = [given.name for given in self.program.inputs]
        macs = sum(self._macs(call) for call in calls)
        learnable = frozenset(dict(self.named_parameters()))
        return ElasticizedSubNetwork(config, names, calls, results, form, shapes, learnable, macs)

    def _macs(self, call: Call) -> int:
        number, _, name = call.name.partition("/")
        if call.args and any(isinstance(item, TensorRef) and item.key.startswith("stitches.") for item in call.args):
            shape = next(cut.shape for cut in self.anchors[int(number)].cuts if cut.value == name)
            weight = self._tensor(call.args[1].key)
            channel = 1 if len(shape) == 4 else len(shape) - 1
            rows = math.prod(size.count for axis, size in enumerate(shape) if axis != channel)
            return rows * weight.shape[0] * weight.shape[1]
        return self.anchors[int(number)].macs[name]

    def _renamed(self, number: int, calls: Iterable[Call]) -> list[Call]:
        """An anchor's calls among those of others, on the inputs that all have."""
        own = [given.name for given in self.anchors[number].program.inputs]
        inputs = dict(zip(own, [given.name for given in self.program.inputs], strict=True))

        def change(item: Any) -> Any:
            if isinstance(item, TensorRef):
                return TensorRef(f"anchor{number}.{item.key}")
            return Ref(inputs.get(item.name) or _value(number, item.name)) if isinstance(item, Ref) else item

        return [
            Call(_value(number, call.name), call.function, replaced(call.args, change), replaced(call.named, change),
                 call.trains)
            for call in calls
        ]  # fmt: skip

    def _tensor(self, key: str) -> Tensor:
        path, _, name = key.rpartition(".")
        found: Tensor = getattr(self.get_submodule(path), name)
        return found


def stitch(
    anchors: Sequence[nn.Module | str | Path],
    example_input: Example | None = None,
    *,
    calibration: Iterable[Sequence[Tensor]] | None = None,
    cuts: Sequence[Sequence[str]] | None = None,
    anchor_options: Sequence[Mapping[str, Any]] | None = None,
) -> StitchedNetwork:
    """Make a super-network of trained networks of one family, as stitchable networks do.

    Args:
        anchors: At least two, from small to large: modules, ``.pt2`` files or ``module:factory``.
        example_input: Tensors that they take, or the shape of one image with its batch.
        calibration: Batches to fit the stitching layers on; random inputs where not given, which is worth little.
        cuts: For each anchor the modules after which it can be cut; all numbered ones where not given.
        anchor_options: For each anchor, keyword arguments of its factory.

    Returns:
        The super-network in evaluation mode. Neighbours are stitched from the smaller to the larger. Training with
        :func:`edgenas.supernets.training.train` improves the stitching layers and the anchors together.

    Raises:
        SuperNetworkError: An anchor cannot be followed or cut, or they do not go together.
    """
    if len(anchors) < 2:
        raise SuperNetworkError(f"Stitching takes at least two anchors, not {len(anchors)}.")
    for name, given in (("cuts", cuts), ("anchor_options", anchor_options)):
        if given is not None and len(given) != len(anchors):
            raise SuperNetworkError(f"{name} needs one entry for each of the {len(anchors)} anchors.")
    made = []
    for number, source in enumerate(anchors):
        program = load_program(source, example_input, anchor_options[number] if anchor_options else {})
        made.append(make_anchor(program, None if cuts is None else cuts[number], number))
    options = {
        "anchors": [str(source) if isinstance(source, Path) else source for source in anchors],
        "example": [item for item in example_input or [] if isinstance(item, int)]
        if not isinstance(example_input, Tensor) else list(example_input.shape),
        "cuts": None if cuts is None else [list(paths) for paths in cuts],
        "anchor_options": None if anchor_options is None else [dict(item) for item in anchor_options],
    }  # fmt: skip
    net = StitchedNetwork(made, options).eval()
    net.fit([[given.example for given in net.program.inputs]] if calibration is None else calibration)
    return net


@register_supernetwork("stitched")
def stitched(
    anchors: Sequence[str],
    example: Sequence[int] | None = None,
    cuts: Sequence[Sequence[str]] | None = None,
    anchor_options: Sequence[Mapping[str, Any]] | None = None,
) -> StitchedNetwork:
    """Anchors of factories or ``.pt2`` files, stitched; see :func:`stitch`."""
    return stitch(anchors, example or None, cuts=cuts, anchor_options=anchor_options)


def _pair_name(first: int, second: int) -> str:
    return f"{first}to{second}"


def _value(number: int, name: str) -> str:
    return f"{number}/{name}"


def _require_alike(anchors: Sequence[Anchor]) -> None:
    first = anchors[0]
    for number, anchor in enumerate(anchors[1:], 1):
        own, other = ([(item.shape, item.dtype) for item in one.program.inputs] for one in (anchor, first))
        if own != other:
            raise SuperNetworkError(f"Anchor {number} takes other inputs than anchor 0.")
        if [tensor.shape for tensor in anchor.program.expected] != [t.shape for t in first.program.expected]:
            raise SuperNetworkError(f"Anchor {number} gives outputs of other shapes than anchor 0.")
