"""A user's own super-network, as short as one can be, and ones with a fault each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from edgenas.compile import TensorSpec
from edgenas.spaces import Choice, SearchSpace

CHANNELS = 8


class Part(nn.Module):
    """Two layers of a width."""

    def __init__(self, width: int, config: dict[str, Any]) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(CHANNELS, width), nn.LayerNorm(width), nn.Linear(width, 3)
        self.config = config
        self.params = sum(parameter.numel() for parameter in self.parameters())
        self.macs = CHANNELS * width + width * 3

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.norm(self.first(x))))


class Slim(nn.Module):
    """One hidden layer of 4, 8 or 16 channels."""

    def __init__(self, largest: int = 16) -> None:
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(CHANNELS, largest), nn.LayerNorm(largest), nn.Linear(largest, 3)
        self._space = SearchSpace([Choice("width0", (4, 8, largest))])

    @property
    def space(self) -> SearchSpace:
        return self._space

    def input_spec(self, config: Any) -> TensorSpec:
        return TensorSpec("input", "float32", (1, CHANNELS))

    def extract(self, config: Any) -> nn.Module:
        config = self.space.canonical(config)
        width = int(config["width0"])
        part = Part(width, config)
        part.load_state_dict({key: tensor.clone() for key, tensor in self.slices(width).items()})
        return part.eval()

    def active(self, config: Any) -> Any:
        width = int(self.space.canonical(config)["width0"])
        part = Part(width, {}).eval()
        return lambda *inputs: torch.func.functional_call(part, self.slices(width), inputs)

    def slices(self, width: int) -> dict[str, Tensor]:
        state = nn.Module.state_dict(self)
        own = {key: tensor[:width] for key, tensor in state.items() if not key.startswith("last")}
        return {**own, "last.weight": state["last.weight"][:, :width], "last.bias": state["last.bias"]}

    def checkpoint_keys(self) -> dict[str, tuple[int, ...]]:
        return {key: tuple(tensor.shape) for key, tensor in self.state_dict().items()}


class NoActive(Slim):
    active = None


class Bare(nn.Module):
    pass


class SpaceEachTime(Slim):
    calls = 0

    @property
    def space(self) -> SearchSpace:
        self.calls += 1
        return SearchSpace([Choice("width0", (4, 8, 16 + self.calls))])


class Views(Slim):
    def extract(self, config: Any) -> nn.Module:
        part = super().extract(config)
        part.last.weight = nn.Parameter(self.last.weight.data[:, : part.last.in_features])
        return part


class Training(Slim):
    def extract(self, config: Any) -> nn.Module:
        return super().extract(config).train()


class WrongMacs(Slim):
    def extract(self, config: Any) -> nn.Module:
        part = super().extract(config)
        part.macs *= 2
        return part


class WrongParams(Slim):
    def extract(self, config: Any) -> nn.Module:
        part = super().extract(config)
        part.params += 1
        return part


class OtherSlices(Slim):
    def active(self, config: Any) -> Any:
        part = super().active(config)
        return lambda x: part(x) * 1.01


class TakesAnything(Slim):
    def extract(self, config: Any) -> nn.Module:
        width = {**self.space.extremes()[1], **config}["width0"]
        return super().extract({"width0": width if width in (4, 8) else 16})


class Loose(Slim):
    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        return super().load_state_dict(state_dict, False, assign)


class OtherKeys(Slim):
    def checkpoint_keys(self) -> dict[str, tuple[int, ...]]:
        return {f"net.{key}": shape for key, shape in super().checkpoint_keys().items()}


class MixingPart(Part):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - x.mean(0) + 1)


class Mixing(Slim):
    def extract(self, config: Any) -> nn.Module:
        part = super().extract(config)
        part.__class__ = MixingPart
        return part

    def active(self, config: Any) -> Any:
        return self.extract(config)


class Drawing(Slim):
    def extract(self, config: Any) -> nn.Module:
        part = super().extract(config)
        with torch.no_grad():
            part.last.bias += torch.rand(3)
        return part
