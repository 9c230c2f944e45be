"""What describes a program that measures by itself: how it is called, and how its output is read.

A declaration is data: it travels with the request, and nothing of it is given to a shell. Placeholders in arguments:

============================ ===========================================================================================
``{model}``                  path of the artifact
``{threads}``                threads inside one inference
``{warmup_s}`` ``_ms``       least warm-up
``{duration_s}`` ``_ms``     least time of the timed runs of one call
``{max_s}``                  most time of them
``{runs}``                   least number of timed runs of one call
``{cores}`` ``{mask}``       cores it is bound to, like ``2,3``, and as a hexadecimal mask, like ``c``
``{result}``                 path of a file that the program may write; it is read like the output
============================ ===========================================================================================

An argument whose placeholder is empty (cores where none are asked for) is left out.
"""

from __future__ import annotations

import re
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Pattern, Tuple

from edgenas_agent.refusal import Refusal

PLACEHOLDERS = (
    "model", "threads", "warmup_s", "warmup_ms", "duration_s", "duration_ms", "max_s", "runs", "cores", "mask",
    "result",
)  # fmt: skip
UNITS_NS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}
#: Named groups of a result's pattern: a time of one run, or summaries of all runs of one call, the better one first.
SAMPLE = "sample"
SUMMARIES = ("median", "mean")
#: The provider that is in use where none is asked for.
DEFAULT = "default"
MAX_REPEATS = 100
MAX_TEXTS = 100
MAX_TEXT = 2000
_PLACE = re.compile(r"\{(\w*)\}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
_SUFFIX = re.compile(r"\.[A-Za-z0-9_]{1,15}\Z")
_FIELDS = (
    "name", "description", "suffixes", "programs", "arguments", "result", "version", "rejected", "repeats", "providers",
    "precisions",
)  # fmt: skip


class Choice(NamedTuple):
    """A provider or precision that can be asked for.

    Attributes:
        arguments: Added to the call.
        confirmed: Must be in the output, else the program fell back.
    """

    arguments: Tuple[str, ...]
    confirmed: Optional[Pattern[str]]


class Declaration(NamedTuple):
    """A program that measures by itself.

    Attributes:
        name: Of the runtime.
        suffixes: Of the files that it loads.
        programs: Names (searched for like a shell does) or paths; the first that is there is taken.
        arguments: Of a call, with placeholders.
        pattern: Finds times in a line of output; has the group ``sample``, or ``median`` and ``mean`` or one of them,
            and may have ``count``.
        unit: Of these times.
        statistics: Which of the groups it has, the best first.
        version_arguments: Of a call that tells the version; without it the hash of the program stands for it.
        version_pattern: Finds the version, as the group ``version``, or the whole match.
        rejected: A line that says that the program cannot load the artifact.
        repeats: Calls that make one measurement; each is a block.
        providers: By name.
        precisions: By name.
    """

    name: str
    suffixes: Tuple[str, ...]
    programs: Tuple[str, ...]
    arguments: Tuple[str, ...]
    pattern: Pattern[str]
    unit: str
    statistics: Tuple[str, ...]
    version_arguments: Tuple[str, ...]
    version_pattern: Optional[Pattern[str]]
    rejected: Optional[Pattern[str]]
    repeats: int
    providers: Dict[str, Choice]
    precisions: Dict[str, Choice]

    def expand(self, values: Mapping[str, str], chosen: Tuple[Choice, ...] = ()) -> List[str]:
        """The arguments of a call.

        Args:
            values: Of each of :data:`PLACEHOLDERS`; empty where there is none.
            chosen: What was asked for.
        """
        wanted = [*self.arguments, *(argument for choice in chosen for argument in choice.arguments)]
        kept = (text for text in wanted if all(values[name] for name in _PLACE.findall(text)))
        return [_PLACE.sub(lambda match: values[match.group(1)], text) for text in kept]

    def uses(self, placeholder: str) -> bool:
        return any("{" + placeholder + "}" in argument for argument in self.arguments)


def read_declaration(data: Any) -> Declaration:
    """Checks a declaration.

    Raises:
        Refusal: ``bad_request`` names the field.
    """
    table = _table(data, "the declaration", _FIELDS)
    name = _text(table, "name")
    if not _NAME.match(name):
        raise _wrong("name", "must be up to 63 letters, digits, '_', '.' or '-'")
    suffixes = _texts(table, "suffixes", least=1)
    for suffix in suffixes:
        if not _SUFFIX.match(suffix):
            raise _wrong("suffixes", f"{suffix!r} is no suffix like '.onnx'")
    result = _table(table.get("result"), "result", ("pattern", "unit"))
    pattern = _pattern(result, "pattern", "result.pattern")
    if pattern is None:
        raise _wrong("result.pattern", "is missing")
    statistics = tuple(group for group in (SAMPLE, *SUMMARIES) if group in pattern.groupindex)
    mixed = SAMPLE in statistics and len(statistics) > 1
    if not statistics or mixed or not set(pattern.groupindex) <= {*statistics, "count"}:
        raise _wrong("result.pattern", "needs the group sample, or median or mean, and may have count, but no others")
    unit = _text(result, "unit", "result.unit")
    if unit not in UNITS_NS:
        raise _wrong("result.unit", f"must be one of {', '.join(UNITS_NS)}")
    version = _table(table.get("version", {}), "version", ("arguments", "pattern"))
    repeats = table.get("repeats", 1)
    if type(repeats) is not int or not 1 <= repeats <= MAX_REPEATS:
        raise _wrong("repeats", f"must be a whole number from 1 to {MAX_REPEATS}")
    declared = Declaration(
        name=name,
        suffixes=suffixes,
        programs=_texts(table, "programs", least=1),
        arguments=_places(_texts(table, "arguments"), "arguments"),
        pattern=pattern,
        unit=unit,
        statistics=statistics,
        version_arguments=_texts(version, "arguments", "version.arguments"),
        version_pattern=_pattern(version, "pattern", "version.pattern"),
        rejected=_pattern(table, "rejected", "rejected"),
        repeats=repeats,
        providers=_choices(table, "providers"),
        precisions=_choices(table, "precisions"),
    )
    if not declared.uses("model"):
        raise _wrong("arguments", "must name the {model}")
    if DEFAULT in declared.providers:
        raise _wrong("providers", f"{DEFAULT} stands for a call without a provider")
    return declared


def _choices(table: Mapping[str, Any], field: str) -> Dict[str, Choice]:
    choices = _table(table.get(field, {}), field, None)
    found = {}
    for name, value in choices.items():
        where = f"{field}.{name}"
        if not _NAME.match(name):
            raise _wrong(where, "is no name")
        inner = _table(value, where, ("arguments", "confirmed"))
        arguments = _places(_texts(inner, "arguments", where + ".arguments"), where + ".arguments")
        found[name] = Choice(arguments, _pattern(inner, "confirmed", where + ".confirmed"))
    return found


def _table(value: Any, field: str, known: Optional[Tuple[str, ...]]) -> Mapping[str, Any]:
    if not isinstance(value, dict) or len(value) > MAX_TEXTS or any(not isinstance(key, str) for key in value):
        raise _wrong(field, "must be a table")
    for key in value:
        if known is not None and key not in known:
            raise _wrong(key if field == "the declaration" else f"{field}.{key}", "is not known")
    return value


def _text(table: Mapping[str, Any], name: str, field: str = "") -> str:
    value = table.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT or "\0" in value:
        raise _wrong(field or name, f"must be text of 1 to {MAX_TEXT} characters")
    return value


def _texts(table: Mapping[str, Any], name: str, field: str = "", least: int = 0) -> Tuple[str, ...]:
    value = table.get(name, [])
    if not isinstance(value, (list, tuple)) or not least <= len(value) <= MAX_TEXTS:
        raise _wrong(field or name, f"must be a list of {least} to {MAX_TEXTS} texts")
    return tuple(_text({name: text}, name, field) for text in value)


def _pattern(table: Mapping[str, Any], name: str, field: str) -> Optional[Pattern[str]]:
    if table.get(name) is None:
        return None
    try:
        return re.compile(_text(table, name, field))
    except re.error as error:
        raise _wrong(field, f"is no regular expression: {error}") from error


def _places(arguments: Tuple[str, ...], field: str) -> Tuple[str, ...]:
    for argument in arguments:
        for name in _PLACE.findall(argument):
            if name not in PLACEHOLDERS:
                raise _wrong(field, f"{{{name}}} is not one of {', '.join(PLACEHOLDERS)}")
    return arguments


def _wrong(field: str, what: str) -> Refusal:
    return Refusal("bad_request", f"a command's declaration: {field} {what}", {"field": field})
