"""Small multiples of raw latencies as plain SVG: every timed run in order, block by block, and its histogram.

SVG and not plotly, because there are many of them: it needs no script, prints sharply, and takes its colours from the
page's style sheet, light or dark.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from edgenas.lab.measurement import Measurement
from edgenas.report.quantities import MINUS, THIN
from edgenas.report.text import clean

_WIDTH, _HEIGHT = 340, 148
_LEFT, _TOP, _BOTTOM = 44, 12, 20
_STRIP, _GAP, _HISTOGRAM = 226, 8, 54
_PLOT = _HEIGHT - _TOP - _BOTTOM
_BINS = 28


@dataclass(frozen=True)
class Scale:
    """The vertical axis of a strip: deviation from each one's own latency, as a share of it.

    Attributes:
        low: Negative.
        high: Positive; runs beyond are drawn as marks on the edges.
        ticks: Where to draw lines; 0 is one of them.
        factor: How much wider than the common scale.
    """

    low: float
    high: float
    ticks: tuple[float, ...]
    factor: int = 1

    def y(self, deviation: float) -> float:
        """Vertical position of a deviation; what lies outside is moved to the edge."""
        inside = min(max(deviation, self.low), self.high)
        return _TOP + (self.high - inside) / (self.high - self.low) * _PLOT


def common_scale(measurements: Sequence[Measurement]) -> Scale:
    """A scale on which the noise of all the measurements can be compared."""
    lows, highs = [0.0], [0.0]
    for measurement in measurements:
        deviations = _deviations(measurement)
        if len(deviations):
            lows.append(float(np.quantile(deviations, 0.005)))
            highs.append(float(np.quantile(deviations, 0.97)))
    # Few noisy measurements must not flatten all others: they get a wider scale of their own.
    low = max(-0.6, min(-0.01, float(np.quantile(lows, 0.2)) * 1.2))
    return _scale(low, min(1.0, max(0.02, float(np.quantile(highs, 0.8)) * 1.2, -low * 0.5)), 1)


def own_scale(measurement: Measurement, common: Scale) -> Scale:
    """The common scale, or a multiple of it for a measurement that spreads far beyond it."""
    allowed = len(measurement.samples_ns) * 0.06
    for factor in (1, 2, 5, 10, 20):
        scale = common if factor == 1 else _scale(max(-0.99, common.low * factor), common.high * factor, factor)
        if outliers(measurement, scale) <= allowed:
            break
    return scale


def _scale(low: float, high: float, factor: int) -> Scale:
    steps = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
    step = next((s for s in steps if (high - low) / s <= 5), 10.0)
    ticks = tuple(round(n * step, 4) for n in range(math.ceil(low / step), int(high / step) + 1))
    return Scale(low, high, ticks, factor)


def strip(measurement: Measurement, scale: Scale, label: str) -> Markup:
    """The SVG of one measurement.

    Args:
        measurement: With samples.
        scale: See :func:`common_scale`.
        label: Read out instead of the picture.
    """
    deviations = _deviations(measurement)
    parts = [_axis(scale)]
    if len(deviations):
        parts += [_interval(measurement, scale), _dots(measurement, deviations, scale)]
        parts += [_outliers(deviations, scale), _histogram(deviations, scale)]
    runs = len(deviations)
    parts.append(f'<text class="tick" x="{_LEFT}" y="{_HEIGHT - 5}">run 1</text>')
    parts.append(f'<text class="tick end" x="{_LEFT + _STRIP}" y="{_HEIGHT - 5}">{runs}</text>')
    head = Markup('<svg class="strip" viewBox="0 0 {} {}" role="img" aria-label="{}">').format(
        _WIDTH, _HEIGHT, clean(label)
    )
    return head + Markup("".join(parts)) + Markup("</svg>")


def outliers(measurement: Measurement, scale: Scale) -> int:
    """How many runs lie beyond the scale on either side."""
    deviations = _deviations(measurement)
    return int(((deviations > scale.high) | (deviations < scale.low)).sum())


def _deviations(measurement: Measurement) -> npt.NDArray[np.float64]:
    if not measurement.samples_ns or measurement.latency_ms <= 0:
        return np.zeros(0)
    samples = np.asarray(measurement.samples_ns, dtype=np.float64)
    return samples / (measurement.latency_ms * 1e6) - 1.0


def _axis(scale: Scale) -> str:
    right = _LEFT + _STRIP + _GAP + _HISTOGRAM
    parts = []
    for tick in scale.ticks:
        y = scale.y(tick)
        style = "grid zero" if tick == 0 else "grid"
        sign = "" if tick == 0 else MINUS if tick < 0 else "+"
        parts.append(f'<path class="{style}" d="M{_LEFT} {y:.1f}H{right}"/>')
        parts.append(
            f'<text class="tick end" x="{_LEFT - 5}" y="{y + 3.5:.1f}">{sign}{abs(tick) * 100:.0f}{THIN}%</text>'
        )
    return "".join(parts)


def _interval(measurement: Measurement, scale: Scale) -> str:
    top = scale.y(measurement.latency_high_ms / measurement.latency_ms - 1.0)
    bottom = scale.y(measurement.latency_low_ms / measurement.latency_ms - 1.0)
    height = max(bottom - top, 1.0)
    return f'<rect class="interval" x="{_LEFT}" y="{top:.1f}" width="{_STRIP}" height="{height:.1f}"/>'


def _dots(measurement: Measurement, deviations: npt.NDArray[np.float64], scale: Scale) -> str:
    """One dot for each run; runs that fall on the same half pixel are drawn once. Blocks take turns in colour."""
    total = len(deviations)
    sizes = measurement.block_sizes if sum(measurement.block_sizes) == total else (total,)
    parts, start = [], 0
    for number, block in enumerate(sizes):
        if block <= 0:
            continue
        chunk = deviations[start : start + block]
        x = _LEFT + (np.arange(start, start + block) + 0.5) / total * _STRIP
        inside = (chunk <= scale.high) & (chunk >= scale.low)
        y = [scale.y(d) for d in chunk[inside]]
        places = dict.fromkeys((round(a * 2) / 2, round(b * 2) / 2) for a, b in zip(x[inside].tolist(), y, strict=True))
        path = "".join(f"M{a:g} {b:g}h0" for a, b in places)
        middle = scale.y(statistics.median(chunk.tolist()))
        left, right = _LEFT + start / total * _STRIP, _LEFT + (start + block) / total * _STRIP
        parts.append(f'<path class="dots {"odd" if number % 2 else "even"}" d="{path}"/>')
        parts.append(f'<path class="block" d="M{left + 0.5:.1f} {middle:.1f}H{right - 0.5:.1f}"/>')
        start += block
    return "".join(parts)


def _outliers(deviations: npt.NDArray[np.float64], scale: Scale) -> str:
    path = ""
    for beyond, y, tip in ((deviations > scale.high, _TOP - 3, -4), (deviations < scale.low, _TOP + _PLOT + 3, 4)):
        places = np.flatnonzero(beyond).tolist()
        columns = dict.fromkeys(round(_LEFT + (i + 0.5) / len(deviations) * _STRIP) for i in places)
        path += "".join(f"M{x - 2.5} {y}l2.5 {tip}l2.5 {-tip}z" for x in columns)
    return f'<path class="beyond" d="{path}"/>' if path else ""


def _histogram(deviations: npt.NDArray[np.float64], scale: Scale) -> str:
    inside = deviations[(deviations >= scale.low) & (deviations <= scale.high)]
    counts, edges = np.histogram(inside, bins=_BINS, range=(scale.low, scale.high))
    peak, left = max(int(counts.max()), 1), _LEFT + _STRIP + _GAP
    bars = []
    for n, low, high in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        if n:
            top, bottom = scale.y(high), scale.y(low)
            bars.append(f"M{left} {top + 0.4:.1f}h{n / peak * _HISTOGRAM:.1f}V{bottom - 0.4:.1f}H{left}z")
    return f'<path class="bars" d="{"".join(bars)}"/>'
