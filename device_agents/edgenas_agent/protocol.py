"""What a host may ask of a measurement, and within which bounds."""

from __future__ import annotations

import re
from typing import Any, Dict, Mapping, NamedTuple, Set, Tuple

from .refusal import Refusal

#: Raised when the arithmetic of the measurement changes; a host that asks for another version is refused.
TIMING_VERSION = 2
MAX_SAMPLES = 65536
MAX_CORES = 1024
MAX_STEPS = 16
#: What ``prepare`` may name.
PREPARATIONS = ("governor", "clocks")
MAX_WORD = 200
_CORES = re.compile(r" *([0-9]{1,4})(?:-([0-9]{1,4}))? *\Z")


class Protocol(NamedTuple):
    """How to time; the host's ``Protocol`` describes each field."""

    warmup_min_s: float = 0.5
    warmup_max_s: float = 10.0
    min_samples: int = 64
    min_blocks: int = 3
    max_samples: int = 16384
    max_s: float = 20.0
    ci_width: float = 0.02
    confidence: float = 0.95
    threads: int = 1
    min_s: float = 0.0
    interval_ms: float = 0.0
    rest_max_s: float = 0.0
    affinity: str = ""
    precision: str = ""
    provider: str = ""
    interleave: bool = True
    preprocess: Tuple[str, ...] = ()
    postprocess: Tuple[str, ...] = ()
    prepare: Tuple[str, ...] = ()
    version: int = TIMING_VERSION

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Protocol:
        """Checks what the host asks for.

        Raises:
            Refusal: ``bad_request`` names the field and its bounds.
        """
        if not isinstance(data, dict):
            raise Refusal("bad_request", "protocol must be an object")
        known = {name: data[name] for name in cls._fields if name in data}
        for name, value in known.items():
            default = cls._field_defaults[name]
            if isinstance(default, tuple):
                known[name] = _words(name, value)
            elif isinstance(default, (bool, str)):
                if type(value) is not type(default) or len(str(value)) > MAX_WORD:
                    raise Refusal("bad_request", f"protocol: {name} must be {_KINDS[type(default)]}")
            elif isinstance(value, bool) or not isinstance(value, int if type(default) is int else (int, float)):
                raise Refusal("bad_request", f"protocol: {name} must be a number")
        result = cls(**known)
        for name, low, high in _BOUNDS:
            value = getattr(result, name)
            if not low <= value <= high:
                raise Refusal("bad_request", f"protocol: {name} must be between {low} and {high}, not {value}")
        cores(result.affinity)
        for name in result.prepare:
            if name not in PREPARATIONS:
                raise Refusal("bad_request", f"protocol: prepare may name {', '.join(PREPARATIONS)}, not {name!r}")
        return result


_BOUNDS = (
    ("warmup_min_s", 0, 600), ("warmup_max_s", 0, 600), ("min_samples", 1, MAX_SAMPLES), ("min_blocks", 1, 1000),
    ("max_samples", 1, MAX_SAMPLES), ("max_s", 0.001, 86400), ("ci_width", 0, 10), ("confidence", 0.5, 0.9999),
    ("threads", 1, 256), ("min_s", 0, 86400), ("interval_ms", 0, 60000), ("rest_max_s", 0, 3600),
    ("version", TIMING_VERSION, TIMING_VERSION),
)  # fmt: skip
_KINDS: Dict[type, str] = {bool: "true or false", str: f"text of at most {MAX_WORD} characters"}


def _words(name: str, value: Any) -> Tuple[str, ...]:
    fits = isinstance(value, (list, tuple)) and len(value) <= MAX_STEPS
    if not fits or any(not isinstance(word, str) or len(word) > MAX_WORD for word in value):
        raise Refusal("bad_request", f"protocol: {name} must be a list of at most {MAX_STEPS} names")
    return tuple(value)


def cores(affinity: str) -> Tuple[int, ...]:
    """The cores that a text like ``0,2-3`` names; none for an empty one.

    Raises:
        Refusal: ``bad_request``; it names no cores.
    """
    found: Set[int] = set()
    for part in affinity.split(",") if affinity else ():
        match = _CORES.match(part)
        first, last = (int(match.group(1)), int(match.group(2) or match.group(1))) if match else (1, 0)
        if not first <= last < MAX_CORES:
            raise Refusal(
                "bad_request", f"protocol: affinity must name cores below {MAX_CORES} like 0 or 2-3, not {affinity!r}"
            )
        found.update(range(first, last + 1))
    return tuple(sorted(found))
