"""Runtimes: what runs an artifact on a board. One file each, which registers itself.

A runtime's own library is imported inside its methods only, in the measuring process, never in the agent: it may be
absent, and its import may crash. A board's native runtime is added by ``--runtime-module MODULE``.
"""

from __future__ import annotations

import abc
from types import MappingProxyType
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional, Sequence, Tuple, Type, TypeVar

from edgenas_agent.frames import ITEM_BYTES, Tensor
from edgenas_agent.protocol import Protocol
from edgenas_agent.refusal import Refusal

_CLASSES: Dict[str, Type[Runtime]] = {}
_T = TypeVar("_T", bound="Type[Runtime]")


class Signature(NamedTuple):
    """An input as the artifact says it.

    Attributes:
        name: May differ from the name that the host knows it by.
        dtype: NumPy name; empty where the artifact leaves type and shape open.
        shape: -1 stands for a dimension that it leaves open.
    """

    name: str
    dtype: str
    shape: Tuple[int, ...]


class Options(NamedTuple):
    """How an artifact is to be run.

    Attributes:
        provider: One of the runtime's :meth:`Runtime.providers`; empty takes the default.
        threads: Inside one inference.
        precision: Of the runtime's arithmetic, for example ``fp16``; empty is the artifact's own.
        affinity: Cores that this process was bound to before; empty where it was not.
        profile: Where a runtime that can tell the times of its layers writes them: the beginning of a file's name.
        graph: File to which a runtime that can writes the graph that it really runs.
    """

    provider: str = ""
    threads: int = 1
    precision: str = ""
    affinity: Tuple[int, ...] = ()
    profile: str = ""
    graph: str = ""


class SelfTiming(NamedTuple):
    """What a runtime says that measures by itself.

    Attributes:
        samples_ns: Times that it told, nanoseconds, in order.
        block_sizes: How they fall into blocks; sums to the number of samples.
        statistic: What a sample is: ``sample`` (one timed run), or ``median`` or ``mean`` of all runs of a block.
        runs: Timed runs behind all of it; 0 where it does not tell.
        peak_memory_bytes: Of what it started.
        detail: What else there is to know.
    """

    samples_ns: List[int]
    block_sizes: List[int]
    statistic: str
    runs: int
    peak_memory_bytes: int
    detail: Dict[str, Any]


class Session(abc.ABC):
    """An artifact that is loaded and can run.

    Attributes:
        provider: What really runs the graph.
        inputs: In calling order.
        detail: How the options took effect, for example which share of the graph the provider took.
    """

    provider: str
    inputs: List[Signature]
    detail: Mapping[str, Any] = MappingProxyType({})

    def measure_itself(self, protocol: Protocol) -> Optional[SelfTiming]:
        """Times from a runtime that cannot be called run by run; ``None`` from all others.

        Raises:
            Refusal: ``bad_request`` where the protocol asks for what it cannot do, ``load_failed``, ``crashed`` or
                ``no_match`` (it ran, but did not tell a time).
        """
        return None

    @abc.abstractmethod
    def prepare(self, tensors: Sequence[Tensor]) -> Any:
        """Inputs in the runtime's own form; they fit :attr:`inputs` already."""

    @abc.abstractmethod
    def run(self, prepared: Any) -> Any:
        """One inference. This call is what is timed."""

    @abc.abstractmethod
    def outputs(self, result: Any) -> List[Tensor]:
        """What :meth:`run` gave, as little-endian bytes."""


class Runtime(abc.ABC):
    """A library that runs artifacts.

    Attributes:
        suffixes: Of the files that it loads.
    """

    suffixes: Tuple[str, ...] = ()

    @abc.abstractmethod
    def version(self) -> str:
        """Of the library.

        Raises:
            ImportError: It is not on this board.
        """

    @abc.abstractmethod
    def providers(self) -> List[str]:
        """What can run a graph here; the default is first."""

    @abc.abstractmethod
    def load(self, path: str, options: Options) -> Session:
        """From the file to a session that can run.

        Raises:
            Refusal: ``runtime_missing`` where an option cannot be had here, ``load_failed`` where it can but did not
                take effect: nothing falls back in silence.
        """


def register_runtime(name: str) -> Callable[[_T], _T]:
    """Adds a runtime under the name that hosts ask for."""

    def add(cls: _T) -> _T:
        if name in _CLASSES:
            raise ValueError(f"there are two runtimes named {name}")
        _CLASSES[name] = cls
        return cls

    return add


def names() -> List[str]:
    return list(_CLASSES)


def find(name: str, suffix: str, declared: Any = None) -> Tuple[str, Runtime]:
    """The runtime of a name, or, without a name, the first that loads files of a suffix.

    Args:
        name: Of the runtime.
        suffix: With the dot.
        declared: The declaration of a program that measures by itself, where the runtime is one.

    Raises:
        Refusal: ``runtime_missing``, or ``bad_request`` for a declaration that is wrong.
    """
    if declared is not None:
        from .command import declared_runtime

        return declared_runtime(declared)
    for known, cls in _CLASSES.items():
        if known == name or (not name and suffix in cls.suffixes):
            return known, cls()
    wanted = f"named {name!r}" if name else f"for {suffix} files"
    raise Refusal("runtime_missing", f"this agent knows no runtime {wanted}, only {', '.join(_CLASSES)}")


def choose(wanted: str, known: Sequence[str], name: str, what: str) -> str:
    """What was asked for, or the first of the known ones.

    Raises:
        Refusal: ``runtime_missing``; it is not among them.
    """
    if wanted and wanted not in known:
        there = f"only {', '.join(known)}" if known else "none at all"
        raise Refusal("runtime_missing", f"{name} here has no {what} {wanted!r}, {there}", {what: list(known)})
    return wanted or known[0]


def match_inputs(tensors: Sequence[Tensor], inputs: Sequence[Signature]) -> List[Tensor]:
    """The given tensors in calling order: by name where all names agree, else as they come.

    Raises:
        Refusal: ``input_mismatch``, with what was expected and what came.
    """
    by_name = {tensor[0]: tensor for tensor in tensors}
    if set(by_name) == {wanted.name for wanted in inputs}:
        tensors = [by_name[wanted.name] for wanted in inputs]
    fits = len(tensors) == len(inputs) and all(_fits(tensor, wanted) for tensor, wanted in zip(tensors, inputs))
    if not fits:
        raise Refusal(
            "input_mismatch",
            f"the artifact takes {_describe(inputs)}, but was given {_describe([t[:3] for t in tensors])}",
            {"expected": [wanted._asdict() for wanted in inputs]},
        )
    return list(tensors)


def _fits(tensor: Tensor, wanted: Signature) -> bool:
    if not wanted.dtype:
        return True
    same_length = len(tensor[2]) == len(wanted.shape)
    return (
        tensor[1] == wanted.dtype and same_length and all(w in (-1, n) for n, w in zip(tensor[2], wanted.shape))
    )  # fmt: skip


def _describe(inputs: Sequence[Tuple[str, str, Tuple[int, ...]]]) -> str:
    return ", ".join(f"{name} {dtype}{list(shape)}" for name, dtype, shape in inputs) or "nothing"


def from_numpy(name: str, array: Any) -> Tensor:
    """A NumPy array as a tensor.

    Raises:
        Refusal: ``load_failed`` where its element type cannot be sent.
    """
    dtype = str(array.dtype)
    if dtype not in ITEM_BYTES:
        raise Refusal("load_failed", f"output {name} has the element type {dtype}, which cannot be sent")
    return name, dtype, tuple(int(n) for n in array.shape), array.tobytes()


from . import onnx, tflite, torch  # noqa: E402, F401  (they register themselves)
