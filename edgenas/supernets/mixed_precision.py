"""The precision of each stage as part of the space, for any super-network.

Quantization-aware search as in DyNAS-T chooses the precision together with the architecture; here the choices stand
beside the super-network's own, so that search, predictors and stores see one space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import nn

from edgenas.compile import fold, trace
from edgenas.compile.artifact import TensorSpec
from edgenas.errors import SuperNetworkError
from edgenas.spaces import Choice, SearchSpace, Value
from edgenas.supernets.base import StateDict, SuperNetwork

#: The smaller and quicker first, as in all choices.
PRECISIONS = ("int8", "fp32")
#: Stages of a super-network that does not tell its own: so many runs of its layers, of equal length.
PARTS = 4
_CHOICE = "precision"

Stages = tuple[tuple[str, ...], ...]


class MixedPrecision:
    """A super-network whose configurations also say in which precision each stage computes.

    Its space has the choices ``precision0..`` beside those of the super-network. What a stage is, the super-network
    may tell by a method ``precision_stages(config)``, which gives for each stage, always the same number of them, the
    paths of its layers in the sub-network; else its layers are cut into :data:`PARTS`. Extracted sub-networks compute
    in float32; :meth:`quantized` says what the compiler makes int8.

    Args:
        net: With its weights.

    Raises:
        SuperNetworkError: It has choices of these names already.
    """

    def __init__(self, net: SuperNetwork) -> None:
        self.net = net
        own = net.space
        stages = _told(net, own.extremes()[0])
        choices = [Choice(f"{_CHOICE}{n}", PRECISIONS) for n in range(PARTS if stages is None else len(stages))]
        if set(own.names) & {_CHOICE, *(choice.name for choice in choices)}:
            raise SuperNetworkError(f"Super-network {net.name} has a choice named {_CHOICE} of its own.")
        self.name, self.options = net.name, net.options
        self._names = tuple(choice.name for choice in choices)
        self._space = _Space(own, choices)

    def __getattr__(self, name: str) -> Any:
        if name == "net":  # of a copy that is being made
            raise AttributeError(name)
        return getattr(self.net, name)

    @property
    def space(self) -> SearchSpace:
        """The super-network's configurations, each in all mixtures of precisions."""
        return self._space

    def extract(self, config: Mapping[str, Any]) -> nn.Module:
        """The sub-network in float32; its ``config`` has the precisions too.

        Raises:
            SpaceError: The configuration lies outside the space.
        """
        canonical = self._space.canonical(config)
        sub: Any = self.net.extract(self._own(canonical))
        sub.config = canonical
        return sub  # type: ignore[no-any-return]

    def active(self, config: Mapping[str, Any]) -> Callable[..., Any]:
        """One configuration as a function that computes in place, in float32.

        Raises:
            SpaceError: The configuration lies outside the space.
        """
        net: Any = self.net
        return net.active(self._own(self._space.canonical(config)))  # type: ignore[no-any-return]

    def input_spec(self, config: Mapping[str, Any]) -> TensorSpec:
        return self.net.input_spec(self._own(self._space.canonical(config)))

    def input_specs(self, config: Mapping[str, Any]) -> tuple[TensorSpec, ...]:
        """Inputs for one example."""
        several = getattr(self.net, "input_specs", None)
        own = self._own(self._space.canonical(config))
        return (self.net.input_spec(own),) if several is None else tuple(several(own))

    def checkpoint_keys(self) -> dict[str, tuple[int, ...]]:
        return self.net.checkpoint_keys()

    def state_dict(self) -> dict[str, Any]:
        return self.net.state_dict()

    def load_state_dict(self, state_dict: StateDict, /) -> Any:
        return self.net.load_state_dict(state_dict)

    def precisions(self, config: Mapping[str, Any]) -> tuple[str, ...]:
        """Of each stage.

        Raises:
            SpaceError: The configuration lies outside the space.
        """
        canonical = self._space.canonical(config)
        return tuple(str(canonical[name]) for name in self._names)

    def quantized(self, config: Mapping[str, Any], module: nn.Module) -> Callable[[str], bool]:
        """Tells by a layer's path whether it is computed in whole numbers; see :func:`edgenas.compile.compile_module`.

        Args:
            config: A configuration.
            module: Its sub-network.

        Raises:
            UnknownLayer: It has a layer that cannot be compiled, and so no stages that could be found.
        """
        precisions = self.precisions(config)
        stages = _told(self.net, self._own(self._space.canonical(config)))
        if stages is None:
            places = _cut(module, self.input_specs(config))
        else:
            places = {path: number for number, paths in enumerate(stages) for path in paths}

        def chosen(path: str) -> bool:
            layer = path.partition("/")[0]
            while layer not in places and layer:
                layer = layer.rpartition(".")[0]
            # What belongs to no layer, like a sum at the very end, goes with the last stage.
            return precisions[places.get(layer, -1)] == "int8"

        return chosen

    def _own(self, canonical: Mapping[str, Value]) -> dict[str, Value]:
        return {name: value for name, value in canonical.items() if name not in self._names}


class _Space(SearchSpace):
    """Accepts what the super-network's own space accepts, which may know other forms of a configuration."""

    def __init__(self, own: SearchSpace, choices: list[Choice]) -> None:
        super().__init__([*own.choices, *choices], own.name)
        self._own = own
        self._added = {_CHOICE, *(choice.name for choice in choices)}

    def expand(self, config: Mapping[str, Any]) -> dict[str, Value]:
        if not isinstance(config, Mapping):
            return super().expand(config)
        own = self._own.expand({name: value for name, value in config.items() if name not in self._added})
        return super().expand({**own, **{name: value for name, value in config.items() if name in self._added}})


def _told(net: SuperNetwork, config: Mapping[str, Any]) -> Stages | None:
    tell = getattr(net, "precision_stages", None)
    return None if tell is None else tell(config)


def _cut(module: nn.Module, specs: Sequence[TensorSpec]) -> dict[str, int]:
    """The stage of each node of the layer graph: runs of layers of equal length, each with what follows its layers."""
    graph = fold(trace(module, specs))
    count = sum(node.macs > 0 for node in graph.nodes)
    seen, stage, places = 0, 0, {}
    for node in graph.nodes:
        if node.macs:
            stage = seen * PARTS // count
            seen += 1
        places[node.name] = stage
    return places
