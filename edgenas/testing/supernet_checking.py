"""Checking a super-network: the candidate, the checks' registry, and what came of each."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from edgenas.compile.artifact import TensorSpec
from edgenas.errors import EdgenasError

#: Outputs may differ by this share of the largest.
TOLERANCE = 1e-4


class Fault(Exception):
    """A check found something wrong.

    Args:
        message: What.
        hint: How to mend it.
    """

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(f"{message} {hint}")
        self.message, self.hint = message, hint


@dataclass(frozen=True)
class CheckResult:
    """What came of a check.

    Attributes:
        name: Of the check.
        state: ``passed``, ``failed``, or ``skipped`` where an earlier one that it builds on failed.
        message: What is wrong.
        hint: How to mend it.
    """

    name: str
    state: str
    message: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Candidate:
    """A super-network under check.

    Attributes:
        net: It.
        configurations: Random ones to look at besides the smallest and the largest.
        formats: To compile in.
    """

    net: Any
    configurations: int = 2
    formats: tuple[str, ...] = ()

    def configs(self, count: int | None = None) -> list[dict[str, Any]]:
        """The smallest, the largest and random ones."""
        smallest, largest = self.net.space.extremes()
        found = [smallest, *([largest] if largest != smallest else [])]
        known = [self.net.space.key(config) for config in found]
        drawn = self.net.space.sample_many(self.configurations if count is None else count, 0, known)
        return [*found, *drawn]

    def specs(self, config: Mapping[str, Any]) -> list[TensorSpec]:
        """Inputs for one example."""
        several = getattr(self.net, "input_specs", None)
        return list(several(config)) if several is not None else [self.net.input_spec(config)]

    def inputs(self, config: Mapping[str, Any], seed: int = 0) -> list[Tensor]:
        """Made-up inputs for one example."""
        return [torch.from_numpy(spec.random(seed + place)) for place, spec in enumerate(self.specs(config))]


Check = Callable[[Candidate], None]
_checks: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Register a check under its function's name, in words."""
    _checks[function.__name__.replace("_", " ")] = function
    return function


def checks() -> dict[str, Check]:
    """All checks in their order."""
    return dict(_checks)


#: Without these, nothing else can be checked.
BASES = ("it has all members", "its space is sound", "sub networks can be extracted")


def run_checks(candidate: Candidate, on_result: Callable[[CheckResult], None] | None = None) -> list[CheckResult]:
    """Run all checks.

    Args:
        candidate: The super-network.
        on_result: Called with each result as it comes.
    """
    results: list[CheckResult] = []
    broken = ""
    for name, function in _checks.items():
        if broken:
            result = CheckResult(name, "skipped", f"not checked, because of: {broken}")
        else:
            result = _run(name, function, candidate)
        if name in BASES and result.state == "failed":
            broken = name
        results.append(result)
        if on_result is not None:
            on_result(result)
    return results


def installed_formats() -> tuple[str, ...]:
    """Formats that can be written and checked on this computer."""
    return ("onnx", "tflite") if importlib.util.find_spec("ai_edge_litert") else ("onnx",)


def _run(name: str, function: Check, candidate: Candidate) -> CheckResult:
    try:
        with torch.no_grad():
            function(candidate)
    except Fault as fault:
        return CheckResult(name, "failed", fault.message, fault.hint)
    except EdgenasError as error:
        return CheckResult(name, "failed", error.message, error.hint)
    except Exception as error:  # the user's code may raise anything
        message = f"{type(error).__name__}: {error}"
        return CheckResult(name, "failed", message, "Run it by hand with that configuration to see where.")
    return CheckResult(name, "passed")


class evaluating:
    """The super-network in evaluation mode for a while."""

    def __init__(self, net: Any) -> None:
        self._net = net
        self._training = bool(getattr(net, "training", False))

    def __enter__(self) -> None:
        if self._training:
            self._net.eval()

    def __exit__(self, *error: object) -> None:
        if self._training:
            self._net.train()


def outputs_of(function: Any, inputs: Sequence[Tensor]) -> list[Tensor]:
    """All tensors that a function gives for inputs."""
    found = [leaf for leaf in pytree.tree_leaves(function(*inputs)) if isinstance(leaf, Tensor)]
    if not found:
        raise Fault("A sub-network gives no tensor.", "Return a tensor, or tensors.")
    return found


def same(one: Sequence[Tensor], other: Sequence[Tensor], tolerance: float) -> bool:
    """Whether outputs agree, within a share of the largest; to the bit where it is 0."""
    if len(one) != len(other) or any(a.shape != b.shape for a, b in zip(one, other, strict=True)):
        return False
    return all(
        torch.allclose(a, b, rtol=0, atol=tolerance * float(a.abs().max())) if tolerance else torch.equal(a, b)
        for a, b in zip(one, other, strict=True)
    )
