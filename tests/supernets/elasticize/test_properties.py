"""Random small networks: their parts are what the networks compute without some channels."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn

from edgenas.supernets import elasticize
from edgenas.supernets.elasticize.checks import groups_that_fail
from tests.supernets.elasticize.models import lively
from tests.supernets.elasticize.test_models import close, without

_WIDTHS = st.sampled_from((8, 12, 16))
# Each operation takes the list of earlier results of one size and adds one to it.
OPS = st.one_of(
    st.tuples(st.just("conv"), _WIDTHS, st.sampled_from((1, 3))),
    st.tuples(st.just("depthwise"), st.just(0), st.just(3)),
    st.tuples(st.just("grouped"), st.just(0), st.just(4)),
    st.tuples(st.just("norm"), st.just(0), st.just(0)),
    st.tuples(st.just("add"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("cat"), st.integers(0, 9), st.just(0)),
    st.tuples(st.just("halves"), st.just(0), st.just(0)),
    st.tuples(st.just("gate"), st.just(0), st.just(0)),
    st.tuples(st.just("shuffle"), st.just(2), st.just(0)),
)


class Drawn(nn.Module):
    """A network of drawn operations on maps of one size; ``cat`` and ``add`` go back to any earlier result."""

    def __init__(self, ops: list[tuple[str, int, int]]) -> None:
        super().__init__()
        self.ops = []
        self.layers = nn.ModuleDict()
        widths = [8]
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        for number, (op, value, extra) in enumerate(ops):
            width, key = widths[-1], str(number)
            made: Any = None
            if op == "conv":
                made, after = nn.Conv2d(width, value, extra, padding=extra // 2), value
            elif op == "depthwise":
                made, after = nn.Conv2d(width, width, extra, padding=1, groups=width), width
            elif op == "grouped":
                made, after = nn.Conv2d(width, 2 * width, 1, groups=extra), 2 * width
            elif op == "norm":
                made, after = nn.BatchNorm2d(width), width
            elif op == "add":
                same = [place for place, other in enumerate(widths) if other == width]
                value, after = same[value % len(same)], width
            elif op == "cat":
                value = value % len(widths)
                after = width + widths[value]
            elif op == "gate":
                made, after = nn.Linear(width, width), width
            else:
                after = width
            if after > 64:
                continue
            if made is not None:
                self.layers[key] = made
            self.ops.append((op, value, key))
            widths.append(after)
        self.head = nn.Linear(widths[-1] * 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        found = [F.relu(self.stem(x))]
        for op, value, key in self.ops:
            x = found[-1]
            if op == "add":
                x = F.relu(x + found[value])
            elif op == "cat":
                x = torch.cat([found[value], x], 1)
            elif op == "halves":
                first, second = x.chunk(2, 1)
                x = torch.cat([second, F.relu(first)], 1)
            elif op == "gate":
                x = x * torch.sigmoid(self.layers[key](x.mean((2, 3))))[:, :, None, None]
            elif op == "shuffle":
                n, c, h, w = x.shape
                x = x.view(n, value, c // value, h, w).transpose(1, 2).reshape(n, c, h, w)
            else:
                x = self.layers[key](x)
            found.append(x)
        return self.head(F.adaptive_avg_pool2d(found[-1], 2).flatten(1))


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(OPS, min_size=1, max_size=7), st.integers(0, 2**16))
@torch.no_grad()
def test_a_part_is_the_network_without_some_channels(ops: list[tuple[str, int, int]], seed: int) -> None:
    model = lively(Drawn(ops), seed)
    net = elasticize(model, (2, 3, 4, 4), width=(0.3, 0.6, 1.0), divisor=2)
    assert groups_that_fail(net) == []
    assert not any("did not run" in entry.reason for entry in net.report().whole)
    x = torch.randn(2, 3, 4, 4)
    close(net(x), model(x))
    for config in (net.space.extremes()[0], net.space.sample(seed)):
        close(net.extract(config)(x), without(model, net, config)(x))
