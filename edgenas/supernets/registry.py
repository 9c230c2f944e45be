"""Super-networks by name: registered here, by entry points of other packages, or as ``module:factory``."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import sys
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, TypeVar

from edgenas.errors import EdgenasError, SuperNetworkError
from edgenas.supernets.base import SuperNetwork

ENTRY_POINTS = "edgenas.supernets"
_METHODS = ("space", "extract", "input_spec", "checkpoint_keys", "state_dict", "load_state_dict")

Factory = Callable[..., Any]
F = TypeVar("F", bound=Factory)

_factories: dict[str, Factory] = {}


def register_supernetwork(name: str) -> Callable[[F], F]:
    """Decorator: make a factory (or class) known under a name.

    Raises:
        SuperNetworkError: The name is taken.
    """

    def register(factory: F) -> F:
        if name in _factories:
            raise SuperNetworkError(f"A super-network named {name!r} is registered already.")
        _factories[name] = factory
        return factory

    return register


def names() -> list[str]:
    """All known names, sorted; ``module:factory`` works besides."""
    return sorted({*_factories, *_plugins()})


def create(name: str, **options: Any) -> SuperNetwork:
    """A new super-network with fresh weights.

    Args:
        name: A known name or ``module:factory``.
        **options: Keyword arguments of its factory; they must be JSON-able to be kept in a checkpoint.

    Raises:
        SuperNetworkError: Unknown or missing name or option, or what was made is no super-network.
    """
    net = build(name, **options)
    lacking = [method for method in _METHODS if not hasattr(net, method)]
    if lacking:
        raise SuperNetworkError(
            f"Super-network {name} lacks {', '.join(lacking)}.",
            hint=f"See edgenas.supernets.SuperNetwork, and what `edgenas supernet check {name}` says.",
        )
    return net  # type: ignore[no-any-return]


def build(name: str, **options: Any) -> Any:
    """What a factory makes, which may be no super-network yet; for checks.

    Raises:
        SuperNetworkError: Unknown or missing name or option.
    """
    factory = _factory(name)
    parameters = inspect.signature(factory).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        for option in options:
            if option not in parameters:
                known = ", ".join(parameters) or "none"
                raise SuperNetworkError(
                    f"Super-network {name} has no option {option!r}.", hint=f"Its options: {known}."
                )
    missing = [option for option in needed_options(name) if option not in options]
    if missing:
        raise SuperNetworkError(
            f"Super-network {name} needs the option {missing[0]!r}.", hint=f"Its options: {', '.join(parameters)}."
        )
    net = factory(**options)
    with contextlib.suppress(AttributeError):  # of something without attributes of its own
        net.name, net.options = name, dict(options)
    return net


def needed_options(name: str) -> list[str]:
    """Options without which a super-network cannot be made."""
    return [
        option
        for option, parameter in inspect.signature(_factory(name)).parameters.items()
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]


def import_object(reference: str, what: str, error: type[EdgenasError]) -> Any:
    """The object that ``module:name`` stands for; the module may lie in the current folder.

    Raises:
        EdgenasError: Of the given class, naming ``what``, where the module or the name does not exist or fails.
    """
    module_name, _, attribute = reference.partition(":")
    folder = str(Path.cwd())
    added = folder not in sys.path
    if added:
        sys.path.append(folder)
    try:
        found: Any = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except Exception as cause:
        raise error(f"Cannot import the {what} {reference!r}: {type(cause).__name__}: {cause}.") from cause
    finally:
        if added and folder in sys.path:
            sys.path.remove(folder)
    return found


def _plugins() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def _factory(name: str) -> Factory:
    if name in _factories:
        return _factories[name]
    plugins = _plugins()
    if name in plugins:
        found = import_object(plugins[name].value, "super-network", SuperNetworkError)
    elif ":" in name:
        found = import_object(name, "super-network", SuperNetworkError)
    else:
        raise SuperNetworkError(
            f"There is no super-network {name!r}.", hint=f"Known: {', '.join(names())}; or name one as module:factory."
        )
    if not callable(found):
        raise SuperNetworkError(f"The super-network {name!r} is no function or class.")
    return found  # type: ignore[no-any-return]
