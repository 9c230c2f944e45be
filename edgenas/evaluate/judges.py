"""What sub-networks are judged on: a judge prepares them, feeds them and gives their outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from edgenas.errors import DataError
from edgenas.evaluate.accuracy import AccuracyEvaluator
from edgenas.evaluate.bleu import END, PAD
from edgenas.supernets.base import Batch, SuperNetwork
from edgenas.supernets.calibration import evaluation

_BATCH = 64
#: A translation may be this many tokens longer than twice its source.
_LONGER = 10


class Judge(ABC):
    """A super-network with data to judge its sub-networks by.

    Attributes:
        kind: Of outputs; see :class:`Metric`.
        net: The super-network.
    """

    kind: ClassVar[str]
    net: SuperNetwork

    @abstractmethod
    def prepare(self, config: Mapping[str, Any]) -> nn.Module:
        """The sub-network as it is to be judged.

        Raises:
            SpaceError: The configuration lies outside the space.
        """

    @abstractmethod
    def view(self, config: Mapping[str, Any]) -> Hashable:
        """Configurations with the same view see the same batches."""

    @abstractmethod
    def batches(self, view: Hashable) -> Iterator[Batch]:
        """Inputs and what is true of them."""

    @abstractmethod
    def outputs(self, module: nn.Module, inputs: Tensor) -> Tensor:
        """What a sub-network makes of a batch, on the CPU."""


class ImageJudge(Judge):
    """Judges by labelled images, after calibrating the batch norms.

    Args:
        evaluator: Super-network, images, split and calibration.
    """

    kind = "classes"

    def __init__(self, evaluator: AccuracyEvaluator) -> None:
        self._evaluator, self.net = evaluator, evaluator.net

    def prepare(self, config: Mapping[str, Any]) -> nn.Module:
        return self._evaluator.subnetwork(config)

    def view(self, config: Mapping[str, Any]) -> int:
        return self._evaluator.resolution(config)

    def batches(self, view: Hashable) -> Iterator[Batch]:
        evaluator = self._evaluator
        if not isinstance(view, int):
            raise TypeError(f"the view of images is a resolution, not {view!r}")
        yield from evaluator.dataset.batches(evaluator.split, view, evaluator.batch_size)

    def outputs(self, module: nn.Module, inputs: Tensor) -> Tensor:
        with evaluation(module):
            logits: Tensor = module(inputs.to(_device(module)))
        return logits.float().cpu()


class TranslationJudge(Judge):
    """Judges by sentence pairs: translates word by word, the likeliest token each time.

    Args:
        net: A Transformer whose sub-networks compute ``sub(src, src_lengths, prev_output_tokens)``.
        sources: Tokens, int64 (N, S); 1 is padding, 2 ends a sentence.
        targets: Reference tokens, int64 (N, T).
    """

    kind = "tokens"

    def __init__(self, net: SuperNetwork, sources: Tensor, targets: Tensor) -> None:
        self.net, self._sources, self._targets = net, sources, targets

    @classmethod
    def from_file(cls, net: SuperNetwork, path: Path) -> TranslationJudge:
        """Sentence pairs of an ``.npz`` file with the arrays ``source`` and ``target``.

        Raises:
            DataError: The file is missing or malformed.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
        except Exception as error:  # NumPy raises many kinds for a damaged file
            raise DataError(f"Cannot read the sentence pairs {path}: {error}.", hint=_PAIRS) from error
        for name in ("source", "target"):
            array = arrays.get(name)
            if array is None or array.ndim != 2 or array.dtype.kind not in "iu" or 0 in array.shape:
                raise DataError(f"{path}: the array {name!r} is missing or no table of tokens.", hint=_PAIRS)
        if len(arrays["source"]) != len(arrays["target"]):
            raise DataError(f"{path}: source and target differ in their number of sentences.", hint=_PAIRS)
        source, target = (torch.from_numpy(arrays[name].astype(np.int64)) for name in ("source", "target"))
        return cls(net, source, target)

    def prepare(self, config: Mapping[str, Any]) -> nn.Module:
        return self.net.extract(config)

    def view(self, config: Mapping[str, Any]) -> str:
        return "sentences"

    def batches(self, view: Hashable) -> Iterator[Batch]:
        for start in range(0, len(self._sources), _BATCH):
            yield self._sources[start : start + _BATCH], self._targets[start : start + _BATCH]

    def outputs(self, module: nn.Module, inputs: Tensor) -> Tensor:
        longest = 2 * inputs.shape[1] + _LONGER
        tokens = translate(module, inputs.to(_device(module)), longest).cpu()
        return nn.functional.pad(tokens, (0, longest - tokens.shape[1]), value=PAD)


def translate(module: nn.Module, sources: Tensor, longest: int) -> Tensor:
    """The likeliest next token again and again, until every sentence has ended.

    Args:
        module: Of a Transformer's sub-network.
        sources: Tokens, int64 (N, S).
        longest: Tokens of a translation at most.

    Returns:
        Tokens, int64 (N, T), padded after the end of each sentence.
    """
    lengths = sources.ne(PAD).sum(1)
    said = torch.full((len(sources), 1), END, dtype=torch.int64, device=sources.device)  # fairseq begins with the end
    ended = torch.zeros(len(sources), dtype=torch.bool, device=sources.device)
    with evaluation(module):
        for _ in range(longest):
            logits: Tensor = module(sources, lengths, said)[:, -1]
            logits[:, PAD] = float("-inf")
            token = logits.argmax(1).masked_fill(ended, PAD)
            said = torch.cat([said, token[:, None]], 1)
            ended |= token.eq(END)
            if bool(ended.all()):
                break
    return said[:, 1:]


_PAIRS = "It holds the tables of tokens source (N, S) and target (N, T); 1 is padding, 2 ends a sentence."


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
