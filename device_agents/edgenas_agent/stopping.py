"""How many runs make a block, when there are enough blocks, and what they say."""

from __future__ import annotations

import math
from itertools import accumulate
from typing import Any, Dict, List, Sequence

from .estimates import headline
from .protocol import Protocol
from .quantiles import median_interval
from .wander import LEAST_BLOCKS, LIKELY, block_medians, block_range, wanders

#: A block lasts about so long, unless the bounds of the protocol say otherwise.
BLOCK_S = 0.1
#: Short runs fill blocks with many samples; so many blocks at least must fit into the greatest number of samples.
ROOM = 32
#: Blocks that differ by less than this share of the asked width count as equal.
SMALL = 0.05


def block_size(run_ns: float, protocol: Protocol) -> int:
    """Runs in a block: about :data:`BLOCK_S`, but so that ``min_blocks`` blocks can be had within every bound."""
    run_s = max(run_ns, 1.0) / 1e9
    wanted = max(math.ceil(protocol.min_samples / protocol.min_blocks), int(BLOCK_S / run_s))
    in_time = int(protocol.max_s / run_s / protocol.min_blocks)
    return max(1, min(wanted, in_time, protocol.max_samples // max(protocol.min_blocks, ROOM)))


def converged(blocks: Sequence[Sequence[float]], protocol: Protocol) -> bool:
    """Whether the interval that will be reported is as narrow as asked, and believable.

    Where the level of the board may be moving by what counts, so many blocks are taken that it can be told how.

    Args:
        blocks: Samples of each, in order.
        protocol: Asks.
    """
    if median_interval(range(sum(map(len, blocks))), protocol.confidence) is None:
        return False
    found = headline(blocks, protocol.confidence)
    width = protocol.ci_width * found.middle
    if found.high - found.low > width:
        return False
    medians = block_medians(blocks)
    if len(blocks) >= LEAST_BLOCKS or max(medians) - min(medians) <= SMALL * width:
        return True
    return not wanders(blocks, medians, LIKELY)


def split(samples: Sequence[int], sizes: Sequence[int]) -> List[Sequence[int]]:
    """The samples of each block."""
    ends = list(accumulate(sizes))
    return [samples[end - size : end] for end, size in zip(ends, sizes)]


def summary(samples_ns: Sequence[int], sizes: Sequence[int], confidence: float) -> Dict[str, Any]:
    """What is told of the reference network instead of its samples.

    Args:
        samples_ns: Not empty.
        sizes: Of the blocks.
        confidence: Of the interval.
    """
    blocks = split(samples_ns, sizes)
    medians = block_medians(blocks)
    found = headline(blocks, confidence)
    return {
        "latency_ns": int(found.middle), "low_ns": int(found.low), "high_ns": int(found.high),
        "samples": len(samples_ns), "block_medians_ns": [int(value) for value in medians],
        "block_range_ns": int(block_range(blocks, medians)),
    }  # fmt: skip
