"""What every super-network must do, as checks that say in plain words what is missing and how to mend it.

They need no pytest; :class:`edgenas.testing.supernet.SuperNetworkContract` runs them as tests.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgenas.compile import compile_module, fold, trace
from edgenas.errors import SpaceError, UnknownLayer
from edgenas.spaces import SearchSpace
from edgenas.testing.supernet_checking import (
    TOLERANCE,
    Candidate,
    CheckResult,
    Fault,
    check,
    checks,
    evaluating,
    installed_formats,
    outputs_of,
    run_checks,
    same,
)

__all__ = ["Candidate", "CheckResult", "Fault", "checks", "run_checks"]

MEMBERS = {
    "space": "a property that gives an edgenas.spaces.SearchSpace",
    "extract": "extract(config) that gives a plain torch module with its own copy of the weights",
    "active": "active(config) that gives a function which computes a configuration in place",
    "input_spec": "input_spec(config) that gives an edgenas.compile.TensorSpec for one example",
    "checkpoint_keys": "checkpoint_keys() that gives the shape of every key of the state dict",
    "state_dict": "state_dict(), as a torch.nn.Module has it",
    "load_state_dict": "load_state_dict(state), as a torch.nn.Module has it",
}


@check
def it_has_all_members(candidate: Candidate) -> None:
    lacking = [member for member in MEMBERS if not hasattr(candidate.net, member)]
    if lacking:
        words = "; ".join(MEMBERS[member] for member in lacking)
        raise Fault(f"It lacks {', '.join(lacking)}.", f"Add {words}.")
    uncallable = [name for name in MEMBERS if name != "space" and not callable(getattr(candidate.net, name))]
    if uncallable:
        raise Fault(f"{', '.join(uncallable)} cannot be called.", "Make them methods.")


@check
def its_space_is_sound(candidate: Candidate) -> None:
    space = candidate.net.space
    if not isinstance(space, SearchSpace):
        raise Fault(f"Its space is {type(space).__name__}.", "Make it an edgenas.spaces.SearchSpace.")
    if space != candidate.net.space or space.hash != SearchSpace.from_dict(space.to_dict()).hash:
        raise Fault("Its space is another one each time.", "Make it once, in the constructor.")
    if space.size < 2:
        raise Fault("Its space has one configuration only.", "Give a choice more than one option.")


@check
def sub_networks_can_be_extracted(candidate: Candidate) -> None:
    for config in candidate.configs():
        made = candidate.net.extract(config)
        if not isinstance(made, nn.Module):
            raise Fault(f"extract gives {type(made).__name__}.", "Return a torch.nn.Module.")
        sub: Any = made
        for name in ("config", "params", "macs"):
            if not hasattr(sub, name):
                raise Fault(
                    f"A sub-network has no {name}.",
                    "Set sub.config (canonical), sub.params (learnable numbers) and sub.macs (multiply-accumulates).",
                )
        if dict(sub.config) != candidate.net.space.canonical(config):
            raise Fault(
                f"A sub-network's config is {sub.config}, not the canonical {config}.",
                "Set sub.config = self.space.canonical(config).",
            )
        outputs_of(sub, candidate.inputs(config))


@check
def grouped_configurations_mean_the_same(candidate: Candidate) -> None:
    for config in candidate.configs():
        grouped = candidate.net.space.group(config)
        one, other = candidate.net.extract(config), candidate.net.extract(grouped)
        inputs = candidate.inputs(config)
        if dict(one.config) != dict(other.config) or not same(outputs_of(one, inputs), outputs_of(other, inputs), 0.0):
            raise Fault(
                f"The grouped form {grouped} gives another sub-network than the flat one.",
                "Begin extract with config = self.space.canonical(config).",
            )


@check
def it_computes_in_place_what_it_extracts(candidate: Candidate) -> None:
    with evaluating(candidate.net):
        for config in candidate.configs():
            inputs = candidate.inputs(config)
            active, sub = (
                outputs_of(candidate.net.active(config), inputs),
                outputs_of(candidate.net.extract(config), inputs),
            )
            if not same(active, sub, TOLERANCE):
                raise Fault(
                    f"active and extract compute different outputs for {config}.",
                    "Take the same slices of the same weights in both, and the same layers' settings (eps, padding).",
                )


@check
def sub_networks_share_no_memory(candidate: Candidate) -> None:
    own = {tensor.untyped_storage().data_ptr() for tensor in candidate.net.state_dict().values() if tensor.numel()}
    for config in candidate.configs(0):
        for key, tensor in candidate.net.extract(config).state_dict().items():
            if tensor.numel() and tensor.untyped_storage().data_ptr() in own:
                raise Fault(
                    f"The sub-network's {key} is a view of the super-network's weights.",
                    "Copy slices in extract: weight[:out].detach().clone().",
                )


@check
def sub_networks_are_ready_to_use(candidate: Candidate) -> None:
    modes = [part.training for part in candidate.net.modules()] if isinstance(candidate.net, nn.Module) else []
    for config in candidate.configs():
        sub = candidate.net.extract(config)
        training = next((name or "it" for name, part in sub.named_modules() if part.training), None)
        if training is not None:
            raise Fault(f"A sub-network is in training mode ({training}).", "Return sub.eval().")
        for key, tensor in sub.state_dict().items():
            if tensor.is_floating_point() and tensor.dtype != torch.float32:
                raise Fault(f"A sub-network's {key} is {tensor.dtype}.", "Extract in float32.")
            if tensor.is_meta:
                raise Fault(f"A sub-network's {key} has no values (device meta).", "Copy values into it.")
        outputs = outputs_of(sub, candidate.inputs(config))
        if not all(bool(torch.isfinite(tensor).all()) for tensor in outputs):
            raise Fault(f"Outputs of {config} are not finite.", "Look at its weights and norms.")
    if modes and modes != [part.training for part in candidate.net.modules()]:
        raise Fault("extract changes the super-network's own mode.", "Call eval() on the copy only.")


@check
def params_and_macs_are_right(candidate: Candidate) -> None:
    for config in candidate.configs():
        sub = candidate.net.extract(config)
        total = sum(parameter.numel() for parameter in sub.parameters())
        try:
            graph = fold(trace(sub, candidate.specs(config)))
        except UnknownLayer:
            graph = None
        # What only looks rows up is not counted by everybody.
        tables = graph is None or any(node.op == "gather" for node in graph.nodes)
        if sub.params != total and not (tables and 0 < sub.params < total):
            raise Fault(
                f"params says {sub.params:,} for {config}, but its parameters hold {total:,} numbers.",
                "Count sum(p.numel() for p in sub.parameters()).",
            )
        if graph is None:
            continue
        products = sum(node.macs for node in graph.nodes if node.op == "matmul")
        if sub.macs not in (graph.macs, graph.macs - products) and not tables:
            raise Fault(
                f"macs says {sub.macs:,} for {config}, but its layers do {graph.macs:,} multiply-accumulates.",
                "Count those of convolutions, linear layers and matrix products for one example, without biases.",
            )


@check
def its_keys_are_its_checkpoint_keys(candidate: Candidate) -> None:
    state = {key: tuple(tensor.shape) for key, tensor in candidate.net.state_dict().items()}
    keys = {key: tuple(shape) for key, shape in candidate.net.checkpoint_keys().items()}
    different = [key for key in {**state, **keys} if state.get(key) != keys.get(key)]
    if different:
        raise Fault(
            f"checkpoint_keys and state_dict differ, first in {different[0]}.",
            "Return {key: tuple(tensor.shape) for key, tensor in self.state_dict().items()}.",
        )


@check
def its_state_comes_back(candidate: Candidate) -> None:
    net, config = candidate.net, candidate.configs(0)[-1]
    inputs = candidate.inputs(config)
    before = {key: tensor.detach().clone() for key, tensor in net.state_dict().items()}
    expected = outputs_of(net.extract(config), inputs)
    changed = {
        key: tensor + 0.01 * (tensor.abs().mean() + 1) if tensor.is_floating_point() else tensor
        for key, tensor in before.items()
    }
    try:
        net.load_state_dict(changed)
        if same(expected, outputs_of(net.extract(config), inputs), 0.0):
            raise Fault("Loading other weights changes nothing.", "Make load_state_dict replace the weights.")
    finally:
        net.load_state_dict(before)
    if not same(expected, outputs_of(net.extract(config), inputs), 0.0):
        raise Fault(
            "A state dict that is loaded again gives other outputs.", "Keep all that matters in the state dict."
        )


@check
def it_refuses_other_weights(candidate: Candidate) -> None:
    state = dict(candidate.net.state_dict())
    lost = next(iter(state))
    del state[lost]
    try:
        candidate.net.load_state_dict(state)
    except Exception:
        return
    raise Fault(f"A state dict without {lost} is loaded without a word.", "Load strictly.")


@check
def it_is_deterministic(candidate: Candidate) -> None:
    for config in candidate.configs(0):
        inputs = candidate.inputs(config)
        first, second = candidate.net.extract(config), candidate.net.extract(config)
        found = outputs_of(first, inputs)
        if not same(found, outputs_of(second, inputs), 0.0) or not same(found, outputs_of(first, inputs), 0.0):
            raise Fault(f"{config} gives other outputs each time.", "Draw no random numbers in extract or forward.")


@check
def examples_do_not_mix(candidate: Candidate) -> None:
    for config in candidate.configs(0):
        if any(not spec.shape or spec.shape[0] != 1 for spec in candidate.specs(config)):
            continue
        sub = candidate.net.extract(config)
        one, other = candidate.inputs(config, 1), candidate.inputs(config, 11)
        both = outputs_of(sub, [torch.cat(pair) for pair in zip(one, other, strict=True)])
        apart = [torch.cat(pair) for pair in zip(outputs_of(sub, one), outputs_of(sub, other), strict=True)]
        if not same(both, apart, TOLERANCE):
            raise Fault(
                f"A batch of two gives other outputs than each example alone for {config}.",
                "Keep the first dimension as the batch.",
            )


@check
def it_refuses_configurations_outside(candidate: Candidate) -> None:
    good = candidate.configs(0)[-1]
    name = candidate.net.space.names[0]
    for bad, what in (
        ({**good, name: "no such option"}, "an option that does not exist"),
        ({**good, "no_such_choice": 1}, "a choice that does not exist"),
        ({key: value for key, value in good.items() if key != name}, f"no {name}"),
    ):
        for method in (candidate.net.extract, candidate.net.active):
            try:
                method(bad)
            except SpaceError:
                continue
            except Exception as error:
                raise Fault(
                    f"{method.__name__} of a configuration with {what} raises {type(error).__name__}.",
                    "Begin with self.space.canonical(config), which raises SpaceError.",
                ) from error
            raise Fault(
                f"{method.__name__} takes a configuration with {what}.",
                "Begin with self.space.canonical(config), which raises SpaceError.",
            )


@check
def a_checkpoint_can_tell_how_to_make_it(candidate: Candidate) -> None:
    if not hasattr(candidate.net, "name") or not hasattr(candidate.net, "options"):
        return  # edgenas.supernets.create sets both
    try:
        json.dumps(candidate.net.options)
    except (TypeError, ValueError) as error:
        raise Fault(
            f"Its options cannot be kept in a checkpoint: {error}.", "Take options that JSON can hold."
        ) from error


@check
def it_compiles(candidate: Candidate) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for config in candidate.configs():
            sub = candidate.net.extract(config)
            for format in candidate.formats or installed_formats():
                compile_module(sub, candidate.specs(config), Path(folder), format=format)
