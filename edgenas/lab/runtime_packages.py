"""Which packages bring which runtime."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from edgenas.errors import UsageError

#: Runtime to the packages that bring it, the first that fit a board are taken. tflite-runtime claims to work with
#: NumPy 2, and then fails at the first model.
PACKAGES: dict[str, tuple[tuple[str, ...], ...]] = {
    "onnxruntime": (("onnxruntime",),),
    "tflite": (("ai-edge-litert",), ("tflite-runtime", "numpy<2")),
    # From 2.11 on the wheels for aarch64 bring gigabytes of CUDA. torch takes arrays only where NumPy is there.
    "torch": (("torch<2.11", "numpy"),),
}


def _project(requirement: str) -> str:
    return re.split(r"[<>=!~]", requirement, maxsplit=1)[0]


#: Names of packages that may be asked for instead of a runtime.
_BY_PACKAGE = {_project(option[0]): (runtime, option) for runtime, options in PACKAGES.items() for option in options}


def check_names(runtimes: Sequence[str]) -> None:
    """Make sure that each is a runtime, or a package that brings one.

    Raises:
        UsageError: One is not.
    """
    known = list(dict.fromkeys([*PACKAGES, *_BY_PACKAGE]))
    for name in runtimes:
        if name not in known:
            raise UsageError(f"There is no runtime {name!r} to install.", hint=f"Choose one of {', '.join(known)}.")


def runtime_of(name: str) -> str:
    """The runtime of a name that has been checked."""
    return name if name in PACKAGES else _BY_PACKAGE[name][0]


def brought_by(runtime: str, packages: Iterable[str]) -> str:
    """The package among some that brings a runtime; the runtime's own name where none of them is known for it."""
    there = set(packages)
    found = (_project(option[0]) for option in PACKAGES.get(runtime, ()))
    return next((project for project in found if project in there), runtime)


def combinations(wanted: Sequence[str], exactly: bool) -> Iterator[tuple[list[str], list[str]]]:
    """Ways to bring all of the wanted runtimes; after these, unless they were named, ways to bring some of them."""
    choices = [list(wanted)]
    if not exactly:
        choices += [[name] for name in wanted if len(wanted) > 1]
    for names in choices:
        options = [(_BY_PACKAGE[name][1],) if name in _BY_PACKAGE and name not in PACKAGES else PACKAGES[name]
                   for name in names]  # fmt: skip
        for way in product(*options):
            yield names, list(dict.fromkeys(package for packages in way for package in packages))
