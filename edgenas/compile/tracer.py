"""From a torch module to the layer graph, by symbolic tracing with ``torch.fx``.

The module's Python runs once with proxies in place of tensors. A proxy knows its shape, so that arithmetic on sizes is
plain arithmetic and control flow on sizes just works; parameters stay real tensors, so that what a module computes from
its parameters alone is computed on the spot. Nothing is ever computed from inputs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import torch
from torch import fx, nn

from edgenas.compile.artifact import TensorSpec
from edgenas.compile.builder import Builder, Value
from edgenas.compile.graph import Graph
from edgenas.compile.lowerings import function_lowering, layer_lowering, method_lowering
from edgenas.errors import EdgenasError, UnknownLayer, UsageError

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
# torch.fx patches nn.Module while it traces, for the whole process.
_ONE_TRACE = threading.Lock()


def trace(module: nn.Module, inputs: Sequence[torch.Tensor | TensorSpec]) -> Graph:
    """The layer graph of a module in eval mode.

    Args:
        module: All of its parts in eval mode. It is not changed, and no input is run through it. The graph's weights
            may share its memory: compile before the module is changed.
        inputs: What ``forward`` is called with: tensors (of which only shape and type count) or specs.

    Returns:
        The graph with batch norms still apart; see :func:`edgenas.compile.fold`.

    Raises:
        UnknownLayer: A layer or function has no lowering; the error names the layer.
        UsageError: The module is in training mode.
    """
    require_eval(module)
    names = ["input"] if len(inputs) == 1 else [f"input_{index}" for index in range(len(inputs))]
    specs = [_spec(name, item) for name, item in zip(names, inputs, strict=True)]
    builder = Builder(specs, reserved=["output"])
    with _ONE_TRACE, torch.no_grad():
        tracer = _Tracer(builder, specs)
        try:
            tracer.trace(module)
        except EdgenasError:
            raise
        except Exception as error:
            # The module's own code ran into a proxy: say where, and leave it to the exporter.
            raise builder.unknown(f"cannot be traced ({type(error).__name__}: {error})") from error
    outputs, values = _flatten(tracer.result)
    params = sum(parameter.numel() for parameter in module.parameters())
    return builder.finish(values, outputs, params)


def require_eval(module: nn.Module) -> None:
    """Refuse a module that would behave as in training.

    Raises:
        UsageError: A part of it is in training mode.
    """
    for name, part in module.named_modules():
        if part.training:
            raise UsageError(
                f"The module is in training mode ({name or type(part).__name__}).", hint="Call module.eval() first."
            )


class _TensorProxy(fx.Proxy):
    """Stands for a tensor of known shape and type."""

    def __init__(self, value: Value, tracer: _Tracer) -> None:
        # Without a node of torch.fx: what happens to this proxy goes straight into the layer graph.
        self.tracer = tracer
        self.value = value

    def __repr__(self) -> str:
        return f"tensor {self.value.name} {self.value.shape}"

    def size(self, dim: int | None = None) -> Any:
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return len(self.value.shape)

    def numel(self) -> int:
        return self.shape.numel()

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def shape(self) -> torch.Size:
        return torch.Size(self.value.shape)

    @property
    def ndim(self) -> int:
        return len(self.value.shape)

    @property
    def dtype(self) -> torch.dtype:
        kind = getattr(torch, self.value.dtype)
        if not isinstance(kind, torch.dtype):
            raise TypeError(f"torch has no type {self.value.dtype}")
        return kind

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")


class _Tracer(fx.Tracer):
    """Runs a module's code and hands every layer and function that a proxy meets to its lowering."""

    def __init__(self, builder: Builder, specs: Sequence[TensorSpec]) -> None:
        super().__init__()
        self.builder = builder
        self.specs = specs
        self.result: Any = None
        self._thread = threading.get_ident()

    def create_args_for_root(
        self, root_fn: Callable[..., Any], is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        proxies = [_TensorProxy(self.builder.input(spec), self) for spec in self.specs]

        def run() -> None:
            self.result = self.root(*proxies)

        return run, []

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: Any) -> Any:
        return attr_val

    def call_module(
        self, m: nn.Module, forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        if threading.get_ident() != self._thread:
            # Another thread uses some module while nn.Module is patched: none of our business.
            return forward(*args, **kwargs)
        build = self.builder
        above = build.scope
        path = (self.submodule_paths or {}).get(m)
        build.scope = f"{above}.{type(m).__name__}".lstrip(".") if path is None else path
        known = layer_lowering(type(m))
        if not _has_proxy((args, kwargs)):
            result = forward(*args, **kwargs)
        elif known is not None and not _is_altered(m):
            build.leaf = True
            try:
                result = self._wrap(known(build, m, *self._unwrap(args), **self._unwrap(kwargs)))
            finally:
                build.leaf = False
        elif known is None and type(m).__module__.startswith("torch.nn.modules.") and not isinstance(m, _CONTAINERS):
            raise build.unknown(f"a {type(m).__name__} is not known")
        else:
            result = forward(*args, **kwargs)
        # Not in a finally clause: an error is to name the innermost layer.
        build.scope = above
        return result

    def create_proxy(
        self,
        kind: str,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        name: str | None = None,
        type_expr: Any = None,
        proxy_factory_fn: Any = None,
    ) -> Any:
        lowering = method_lowering(target) if kind == "call_method" else function_lowering(target)
        if lowering is None:
            what = "the method" if kind == "call_method" else "the function"
            raise self.builder.unknown(f"{what} {getattr(target, '__name__', target)} is not known")
        return self._wrap(lowering(self.builder, *self._unwrap(args), **self._unwrap(kwargs)))

    def to_bool(self, obj: fx.Proxy) -> NoReturn:
        raise self.builder.unknown("its control flow depends on the data")

    def iter(self, obj: fx.Proxy) -> NoReturn:
        raise self.builder.unknown("it iterates over a tensor")

    def _wrap(self, result: Any) -> Any:
        if isinstance(result, list | tuple):
            return type(result)(self._wrap(part) for part in result)
        return _TensorProxy(result, self) if isinstance(result, Value) else result

    def _unwrap(self, item: Any) -> Any:
        if isinstance(item, _TensorProxy):
            return item.value
        if isinstance(item, fx.Proxy):
            raise self.builder.unknown(f"a tensor's attribute {getattr(item, 'attr', '')} is not known")
        if isinstance(item, list | tuple):
            parts = [self._unwrap(part) for part in item]
            return parts if isinstance(item, list) else tuple(parts)
        if isinstance(item, dict):
            return {key: self._unwrap(part) for key, part in item.items()}
        return item


def _spec(name: str, item: torch.Tensor | TensorSpec) -> TensorSpec:
    if isinstance(item, TensorSpec):
        return item
    return TensorSpec(name, str(item.dtype).removeprefix("torch."), tuple(item.shape))


def _is_altered(module: nn.Module) -> bool:
    """Whether a layer does more than its kind: by hooks (pruning, spectral norm) or a ``forward`` of its own."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))


def _has_proxy(item: Any) -> bool:
    if isinstance(item, list | tuple):
        return any(_has_proxy(part) for part in item)
    if isinstance(item, dict):
        return any(_has_proxy(part) for part in item.values())
    return isinstance(item, fx.Proxy)


def _flatten(result: Any) -> tuple[list[str], list[Value]]:
    """Names and values of what ``forward`` returned: a tensor, or sequences or a mapping of tensors."""
    if isinstance(result, dict):
        named = [(str(key), part) for key, part in result.items()]
    elif isinstance(result, list | tuple):
        named = [(f"output_{index}", part) for index, part in enumerate(result)]
    else:
        named = [("output", result)]
    values = []
    for name, part in named:
        if not isinstance(part, _TensorProxy):
            raise UnknownLayer("(the whole network)", f"its {name} is a {type(part).__name__} that no input reaches")
        values.append(part.value)
    return [name for name, _ in named], values
