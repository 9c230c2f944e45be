"""From times of whole networks to times of their layers.

``y = c + sum_l n_l t_l``: networks are sums of layers and a constant. There are mostly more layers than networks, so
each ``t_l`` starts from what it costs by its multiply-accumulates, bytes and operations (non-negative least squares: a
roofline whose slopes are learnt), or from what a runtime's own clock said of it. From there all layers together, kinds,
like layers and each layer by itself may deviate; how much, the evidence decides (a Gaussian process of which sums are
observed; MacKay 1992). Posterior deviations say how sure each entry is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgenas.predict.calibration import held_out_error
from edgenas.predict.components import Prior, improve
from edgenas.predict.gaussian_process import covariance_inverse
from edgenas.tables.layers import LayerType

Floats = npt.NDArray[np.float64]
_LEAST_MS = 1e-7
_UNKNOWN, _CLOCKED = 0.35, 0.04
"""Relative deviations of a layer of which nothing is known but its kind, and of one that a clock has timed."""
_UNIT = 0.1
"""The constant is about so large, as a share of a network: the process has it with variance 1."""
_NOISE, _DOUBT = 0.03, 3.0
"""Relative deviation of whole networks that is believed where few were held back, and as so many of them."""


@dataclass(frozen=True)
class Slopes:
    """What layers cost by their kind: milliseconds for each giga-multiply-accumulate, gigabyte and thousand operations.

    Attributes:
        kinds: In order; the last row of ``ms``, without a kind, is for all others.
        ms: ``[kinds + 1, 3]``.
    """

    kinds: tuple[str, ...]
    ms: Floats

    def of(self, types: Sequence[LayerType]) -> Floats:
        """Cost of layers, ms."""
        places = {kind: place for place, kind in enumerate(self.kinds)}
        slopes = self.ms[[places.get(each.kind, len(self.kinds)) for each in types]].reshape(-1, 3)
        cost: Floats = np.maximum((_columns(types) * slopes).sum(axis=1), _LEAST_MS)
        return cost


@dataclass(frozen=True)
class Decomposition:
    """Times of layers.

    Attributes:
        mean_ms: ``[layers]``.
        std_ms: ``[layers]``.
        constant_ms: That every network takes besides.
        slopes: For layers that are not among these.
        noise: Relative standard deviation of a whole network around its sum, from networks held back.
        held_out: Error on networks held back, each in turn: ``mape`` (%), ``rmse`` (ms), ``spearman``, ``rows``.
    """

    mean_ms: Floats
    std_ms: Floats
    constant_ms: float
    slopes: Slopes
    noise: float
    held_out: dict[str, float]


def decompose(
    types: Sequence[LayerType], counts: Floats, totals_ms: Floats, clocked_ms: Floats | None = None
) -> Decomposition:
    """Layers from networks.

    Args:
        types: The layers.
        counts: ``[networks, layers]``: how often each occurs.
        totals_ms: ``[networks]``, positive; may be empty where layers are clocked.
        clocked_ms: ``[layers]``: what a runtime's clock said of a layer; NaN where it said nothing.
    """
    clocked = np.full(len(types), np.nan) if clocked_ms is None else np.asarray(clocked_ms, dtype=np.float64)
    slopes = _slopes(types, counts, totals_ms, clocked)
    alike = _alike(types)
    base, spread = _base(slopes.of(types), clocked, alike)
    if len(totals_ms) == 0:
        return Decomposition(base, base * spread, 0.0, slopes, _NOISE, {})
    ratio = (counts @ base) / totals_ms
    factor = float(ratio.sum() / (ratio @ ratio)) if ratio.any() else 1.0
    base = base * factor
    slopes = Slopes(slopes.kinds, slopes.ms * factor)
    unit = _UNIT * float(np.median(totals_ms))
    parts = _Parts(types, alike, counts * base / unit, base / unit, spread)
    residual, noise = (totals_ms - counts @ base) / unit, (totals_ms * _UNIT / unit) ** 2
    known = np.isfinite(clocked).any()
    prior = Prior(
        np.log([0.01, 0.005 if known else 0.06, 1.0, 1.0, (0.02 / _UNIT) ** 2]), np.array([1.0, 1.0, 0.7, 0.7, 1.0])
    )
    theta, _ = improve(parts.networks, residual, noise, prior, prior.mean)
    weights = np.exp(theta[:-1])
    covariance = 1.0 + np.tensordot(weights, parts.networks, 1) + np.diag(np.exp(theta[-1]) * noise + 1e-8)
    inverse, _ = covariance_inverse(covariance)
    alpha = inverse @ residual
    across = np.tensordot(weights, parts.layers, 1)
    variance = parts.own(weights) - ((across @ inverse) * across).sum(axis=1)
    held = totals_ms - unit * alpha / np.diag(inverse)
    off = held / totals_ms - 1.0
    return Decomposition(
        np.maximum(base + unit * (across @ alpha), 0.0),
        unit * np.sqrt(np.maximum(variance, 0.0)),
        unit * float(alpha.sum()),
        slopes,
        network_noise(off),
        held_out_error(totals_ms, held) if len(totals_ms) > 2 else {},
    )


def network_noise(off: Floats) -> float:
    """Relative standard deviation of whole networks around the sum of their layers.

    Args:
        off: Relative errors of networks held back.
    """
    return float(np.sqrt((_DOUBT * _NOISE**2 + off @ off) / (_DOUBT + len(off))))


class _Parts:
    """Covariances by cause: all layers together, kinds, like layers, each by itself.

    Attributes:
        networks: ``[causes, networks, networks]``.
        layers: ``[causes, layers, networks]``.
    """

    def __init__(
        self, types: Sequence[LayerType], alike: Floats, weighted: Floats, base: Floats, spread: Floats
    ) -> None:
        kinds = sorted({each.kind for each in types})
        of_kind = np.array([[each.kind == kind for kind in kinds] for each in types], dtype=np.float64)
        sums, by_kind = weighted.sum(axis=1), weighted @ of_kind
        spread_out = weighted * spread
        near = spread_out @ alike
        self._base, self._spread = base, spread
        self.networks = np.stack(
            [np.outer(sums, sums), by_kind @ by_kind.T, near @ spread_out.T, spread_out @ spread_out.T]
        )
        wide = (base * spread)[:, None]
        self.layers = np.stack(
            [np.outer(base, sums), base[:, None] * (of_kind @ by_kind.T), wide * near.T, wide * spread_out.T]
        )

    def own(self, weights: Floats) -> Floats:
        """Variance of each layer before anything is observed."""
        shared = weights[0] + weights[1] + (weights[2] + weights[3]) * self._spread**2
        result: Floats = shared * self._base**2
        return result


def _columns(types: Sequence[LayerType]) -> Floats:
    rows = [(each.macs / 1e9, each.moved_bytes / 1e9, each.nodes / 1e3) for each in types]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _slopes(types: Sequence[LayerType], counts: Floats, totals_ms: Floats, clocked: Floats) -> Slopes:
    columns, seen = _columns(types), np.isfinite(clocked) & (clocked > 0)
    if not seen.any():
        return Slopes((), _nonnegative(counts @ columns, totals_ms)[None])
    kinds, found = [], []
    for kind in sorted({each.kind for each in types}):
        rows = seen & np.array([each.kind == kind for each in types])
        if rows.sum() >= 4:
            kinds.append(kind)
            found.append(_nonnegative(columns[rows], clocked[rows]))
    return Slopes(tuple(kinds), np.stack([*found, _nonnegative(columns[seen], clocked[seen])]))


def _nonnegative(columns: Floats, times: Floats) -> Floats:
    """Slopes with the least relative error."""
    from scipy.optimize import nnls

    relative = columns / times[:, None]
    size = np.where(relative.any(axis=0), np.sqrt((relative**2).mean(axis=0)), 1.0)
    # A little of each where they cannot be told apart.
    slopes, _ = nnls(
        np.concatenate([relative / size, 0.01 * np.eye(columns.shape[1])]),
        np.concatenate([np.ones(len(times)), np.full(columns.shape[1], 0.003)]),
    )
    result: Floats = slopes / size
    return result


def _alike(types: Sequence[LayerType]) -> Floats:
    """How alike layers are: 0 for two kinds, near 1 for nearly equal sizes of one."""
    numbers = {kind: place for place, kind in enumerate(sorted({each.kind for each in types}))}
    kind = np.array([numbers[each.kind] for each in types])
    sizes = np.log(np.array([(each.macs + 1.0, each.moved_bytes + 1.0) for each in types]).reshape(-1, 2))
    sizes = np.concatenate([sizes, sizes[:, :1] - sizes[:, 1:]], axis=1)
    squares = (sizes**2).sum(axis=1)
    apart = np.maximum(squares[:, None] + squares[None] - 2.0 * sizes @ sizes.T, 0.0)
    alike: Floats = np.exp(-0.5 * apart) * (kind[:, None] == kind[None])
    return alike


def _base(sloped: Floats, clocked: Floats, alike: Floats) -> tuple[Floats, Floats]:
    """Where each layer starts from, and its relative deviation: the clock, clocked layers like it, or slopes."""
    seen = np.isfinite(clocked) & (clocked > 0)
    if not seen.any():
        return sloped, np.full(len(sloped), _UNKNOWN)
    off = np.log(clocked[seen] / sloped[seen])
    wide = float(np.clip(off @ off / len(off), 0.02**2, _UNKNOWN**2))
    covariance = wide * alike[np.ix_(seen, seen)] + np.diag(np.full(len(off), _CLOCKED**2))
    inverse, _ = covariance_inverse(covariance)
    across = wide * alike[:, seen]
    base = sloped * np.exp(across @ (inverse @ off))
    left = np.sqrt(np.maximum(wide - ((across @ inverse) * across).sum(axis=1), 0.0) + _CLOCKED**2)
    return np.where(seen, clocked, base), np.where(seen, _CLOCKED, left)
