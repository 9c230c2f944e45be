"""Small problems that search tests share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from edgenas.spaces import Choice, SearchSpace

TINY = SearchSpace([Choice("ks0", (3, 5, 7)), Choice("e0", (3, 4, 6))])


def elastic_space(blocks: int = 12) -> SearchSpace:
    """Blocks in stages of four, of which a depth switches off the last two."""
    choices = [Choice(f"d{s}", (2, 3, 4)) for s in range(blocks // 4)]
    for i in range(blocks):
        needs = {f"d{i // 4}": tuple(range(i % 4 + 1, 5))} if i % 4 >= 2 else {}
        choices += [Choice(f"ks{i}", (3, 5, 7), needs), Choice(f"e{i}", (3, 4, 6), needs)]
    return SearchSpace(choices)


def evaluate(configs: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Accuracy (percent) and latency (ms) of any configuration of the spaces above; the same in every process."""
    return [_values(config) for config in configs]


def _values(config: Mapping[str, Any]) -> dict[str, float]:
    work, skill = 5.0, 0.0
    for name, value in config.items():
        block = int(name.lstrip("dkse"))
        active = name.startswith("d") or block % 4 < config.get(f"d{block // 4}", 4)
        if active:
            weight = int(hashlib.sha256(name.encode()).hexdigest()[:4], 16) / 65535
            work += value * (0.2 + weight)
            skill += value**0.5 * (0.4 + (weight * 7) % 1.0)
    noise = int(hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:4], 16) / 65535
    return {"accuracy": 60.0 + 30.0 * skill / (skill + 20.0) + 0.05 * noise, "latency_ms": work}
