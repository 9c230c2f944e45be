"""The declaration itself: which model, which shares of its channels and blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from edgenas.errors import SuperNetworkError
from edgenas.supernets.elasticize import rules  # noqa: F401  (they register themselves)
from edgenas.supernets.elasticize.checks import groups_that_fail, put_in_order, require_equal, takes_any_batch
from edgenas.supernets.elasticize.groups import find_groups
from edgenas.supernets.elasticize.layout import Layout
from edgenas.supernets.elasticize.network import ElasticizedNetwork
from edgenas.supernets.elasticize.program import Program
from edgenas.supernets.elasticize.report import make_report
from edgenas.supernets.elasticize.sources import Example, load_program
from edgenas.supernets.elasticize.stages import find_stages
from edgenas.supernets.elasticize.tracking import track
from edgenas.supernets.registry import register_supernetwork


def elasticize(
    model: nn.Module | str | Path,
    example_input: Example | None = None,
    *,
    width: Sequence[float] = (0.5, 0.75, 1.0),
    depth: Sequence[float] = (0.5, 1.0),
    heads: Sequence[float] | None = None,
    divisor: int = 8,
    model_options: Mapping[str, Any] | None = None,
) -> ElasticizedNetwork:
    """Make a super-network of a trained model.

    Its largest configuration computes what the model computes; the most important channels and heads come first.
    In sub-networks, batch norms need new statistics (:func:`edgenas.supernets.calibration.recalibrate`), and a short
    training makes them good.

    Args:
        model: A module (it is not changed), a ``.pt2`` file, or ``module:factory``.
        example_input: Tensors that the model takes, or the shape of one image with its batch; not for a ``.pt2`` file.
        width: Shares of channels to choose from, in (0, 1].
        depth: Shares of the blocks of each stage to choose from, in (0, 1].
        heads: Shares of the heads of attentions to choose from; as ``width`` where not given.
        divisor: Of numbers of channels, where a layer is wide enough for it.
        model_options: Keyword arguments of the factory.

    Returns:
        The super-network in evaluation mode. ``report()`` lists what is elastic, and what is not and why. One that was
        made of a module object cannot be saved as a checkpoint; one of a factory or file can.

    Raises:
        SuperNetworkError: The model cannot be followed, an argument is out of range, or nothing can be made elastic.
    """
    shares = {"width": width, "depth": depth, "heads": width if heads is None else heads}
    for name, given in shares.items():
        _check_shares(name, given)
    if not isinstance(divisor, int) or divisor < 1:
        raise SuperNetworkError(f"The divisor must be a whole number from 1 on, not {divisor!r}.")
    program = load_program(model, example_input, model_options or {})
    options = {
        "source": str(model) if isinstance(model, Path) else model, "example": _shape_of(example_input),
        "width": list(width), "depth": list(depth), "heads": None if heads is None else list(heads),
        "divisor": divisor, "model_options": dict(model_options or {}),
    }  # fmt: skip
    return _make(program, shares, divisor, options)


@register_supernetwork("elastic")
def elastic(
    source: str,
    example: Sequence[int] | None = None,
    width: Sequence[float] = (0.5, 0.75, 1.0),
    depth: Sequence[float] = (0.5, 1.0),
    heads: Sequence[float] | None = None,
    divisor: int = 8,
    model_options: Mapping[str, Any] | None = None,
) -> ElasticizedNetwork:
    """A model of a factory or of a ``.pt2`` file as a super-network; see :func:`elasticize`."""
    return elasticize(
        source, example, width=width, depth=depth, heads=heads, divisor=divisor, model_options=model_options
    )


def _make(
    program: Program, shares: Mapping[str, Sequence[float]], divisor: int, options: Mapping[str, Any]
) -> ElasticizedNetwork:
    tracked = track(program)
    stages, refused = find_stages(tracked)
    classes = tracked.ties.classes()
    least = {heads: min(shares["heads" if heads else "width"]) for heads in (False, True)}
    groups = {
        group: group.options(shares["heads" if group.heads else "width"], divisor)
        for group in find_groups(tracked, classes)
    }
    depths = {stage: stage.options(shares["depth"]) for stage in stages}
    taken_back = {
        group.title: f"too few channels to choose from ({len(group.units)})"
        for group, counts in groups.items()
        if len(counts) < 2 and least[group.heads] < 1
    }
    layout = Layout(tracked, classes, groups, depths)
    net = _network(layout, refused, taken_back, (), options)
    failing = groups_that_fail(net)
    if failing:
        taken_back.update({group.title: "a sub-network without some of its channels did not run" for group in failing})
        layout = Layout(tracked, classes, {g: counts for g, counts in groups.items() if g not in failing}, depths)
        net = _network(layout, refused, taken_back, (), options)
    require_equal(net)
    if not takes_any_batch(net):
        net = _network(layout, refused, taken_back, (f"it takes a batch of {program.batch} only",), options)
    put_in_order(net)
    return net


def _network(
    layout: Layout, refused: Mapping[str, str], taken_back: Mapping[str, str], notes: Sequence[str], options: Any
) -> ElasticizedNetwork:
    report = make_report(layout, {**refused, **taken_back}, notes)
    if not layout.groups and not layout.stages:
        reasons = "; ".join(f"{entry.layer}: {entry.reason}" for entry in report.whole[:3])
        raise SuperNetworkError(
            f"Nothing of the model can be made elastic. {reasons}.", hint="Give smaller shares, or another model."
        )
    return ElasticizedNetwork(layout, report, options).eval()


def _check_shares(name: str, given: Sequence[float]) -> None:
    fine = isinstance(given, Sequence) and not isinstance(given, str) and len(given) > 0
    if not fine or not all(isinstance(share, int | float) and 0 < share <= 1 for share in given):
        raise SuperNetworkError(f"{name} must be shares above 0 up to 1, not {given!r}.")


def _shape_of(example: Example | None) -> list[int] | None:
    """An example in the form that a checkpoint can keep."""
    if example is None:
        return None
    if isinstance(example, Tensor):
        return list(example.shape)
    return [item for item in example if isinstance(item, int)]
