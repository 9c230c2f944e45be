"""Steps before and after an inference, by name. Work in NumPy, which is there wherever a runtime for Python is.

A step before the inference is a class: told what it must give, it says what it takes, so that a chain of them can be
built backwards from the artifact's input. A step after it is a function of the artifact's first output.
"""

from __future__ import annotations

import abc
import re
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple, Type, TypeVar

from .frames import Tensor
from .refusal import Refusal

#: Per channel, of ImageNet's images from 0 to 1; for other numbers of channels, one half.
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
MAX_SIDE = 16384
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})\Z")

After = Callable[[Any], Any]


class Image(NamedTuple):
    """Element type and shape of what goes from one step to the next."""

    dtype: str
    shape: Tuple[int, ...]

    def random(self, seed: int) -> Any:
        """A frame: bytes from 0 to 255, or numbers from 0 to 1."""
        import numpy

        rng = numpy.random.default_rng(seed)
        if numpy.dtype(self.dtype).kind in "iu":
            return rng.integers(0, 128 if self.dtype == "int8" else 256, self.shape).astype(self.dtype)
        return rng.random(self.shape).astype(self.dtype)

    @property
    def channel_axis(self) -> int:
        """Of an image of one, three or four channels.

        Raises:
            Refusal: ``bad_request``; this is none.
        """
        if len(self.shape) == 4:
            for axis in (1, 3):
                if self.shape[axis] in (1, 3, 4):
                    return axis
        raise Refusal("bad_request", f"{list(self.shape)} is no image of 1, 3 or 4 channels")


class Before(abc.ABC):
    """A step before the inference.

    Args:
        argument: What stands behind the colon of its name.
    """

    takes_argument = False

    def __init__(self, argument: str) -> None:
        self.argument = argument

    @abc.abstractmethod
    def fit(self, wanted: Image) -> Image:
        """What it takes to give ``wanted``; called once, before :meth:`apply`.

        Raises:
            Refusal: ``bad_request``; it cannot give that.
        """

    @abc.abstractmethod
    def apply(self, array: Any) -> Any:
        """The step itself."""


_BEFORE: Dict[str, Type[Before]] = {}
_AFTER: Dict[str, After] = {}
_B = TypeVar("_B", bound="Type[Before]")


def step_before(name: str) -> Callable[[_B], _B]:
    """Adds a step before the inference."""

    def add(cls: _B) -> _B:
        _BEFORE[name] = cls
        return cls

    return add


def step_after(name: str) -> Callable[[After], After]:
    """Adds a step after the inference."""

    def add(function: After) -> After:
        _AFTER[name] = function
        return function

    return add


def names() -> Tuple[List[str], List[str]]:
    """All steps before, and all steps after the inference."""
    return sorted(_BEFORE), sorted(_AFTER)


def before(words: Sequence[str]) -> List[Before]:
    """The steps of some names, such as ``resize:640x480``.

    Raises:
        Refusal: ``bad_request`` names the step.
    """
    found = []
    for word in words:
        name, colon, argument = word.partition(":")
        if name not in _BEFORE:
            raise Refusal("bad_request", f"preprocess: {name[:40]!r} is none of {', '.join(sorted(_BEFORE))}")
        if bool(colon) != _BEFORE[name].takes_argument:
            raise Refusal("bad_request", f"preprocess: {name} takes {'one' if not colon else 'no'} argument")
        found.append(_BEFORE[name](argument))
    return found


def after(words: Sequence[str]) -> List[After]:
    """The functions of some names.

    Raises:
        Refusal: ``bad_request`` names the step.
    """
    for word in words:
        if word not in _AFTER:
            raise Refusal("bad_request", f"postprocess: {word[:40]!r} is none of {', '.join(sorted(_AFTER))}")
    return [_AFTER[word] for word in words]


def fit(chain: Sequence[Before], wanted: Image) -> Image:
    """What a chain begins with, so that it ends with what the artifact takes."""
    for step in reversed(chain):
        wanted = step.fit(wanted)
    return wanted


def contiguous(array: Any) -> Any:
    """The array's bytes for :meth:`runtimes.Session.prepare`, copied only where they do not lie in a row."""
    import numpy

    return numpy.ascontiguousarray(array).reshape(-1).view("uint8").data


def from_tensor(tensor: Tensor) -> Any:
    import numpy

    return numpy.frombuffer(tensor[3], tensor[1]).reshape(tensor[2])


@step_before("uint8_to_float")
class Uint8ToFloat(Before):
    """Bytes from 0 to 255 become numbers from 0 to 1."""

    def fit(self, wanted: Image) -> Image:
        if wanted.dtype != "float32":
            raise Refusal("bad_request", f"preprocess: uint8_to_float gives float32, not {wanted.dtype}")
        return Image("uint8", wanted.shape)

    def apply(self, array: Any) -> Any:
        result = array.astype("float32")
        result *= 1.0 / 255.0
        return result


@step_before("normalize")
class Normalize(Before):
    """Each channel less its mean, by its deviation."""

    _mean: Any = 0.0
    _factor: Any = 1.0

    def fit(self, wanted: Image) -> Image:
        import numpy

        if wanted.dtype != "float32":
            raise Refusal("bad_request", f"preprocess: normalize gives float32, not {wanted.dtype}")
        axis = wanted.channel_axis
        count = wanted.shape[axis]
        mean, deviation = (MEAN, DEVIATION) if count == 3 else ((0.5,) * count, (0.5,) * count)
        form = [count if place == axis else 1 for place in range(4)]
        self._mean = numpy.array(mean, "float32").reshape(form)
        self._factor = 1 / numpy.array(deviation, "float32").reshape(form)
        return wanted

    def apply(self, array: Any) -> Any:
        result = array - self._mean
        result *= self._factor
        return result


@step_before("nhwc_to_nchw")
class ChannelsFirst(Before):
    """A camera's order of bytes becomes that of most ONNX networks."""

    def fit(self, wanted: Image) -> Image:
        return Image(wanted.dtype, _permuted(wanted.shape, (0, 2, 3, 1), "nhwc_to_nchw"))

    def apply(self, array: Any) -> Any:
        return array.transpose(0, 3, 1, 2)


@step_before("nchw_to_nhwc")
class ChannelsLast(Before):
    """The way back."""

    def fit(self, wanted: Image) -> Image:
        return Image(wanted.dtype, _permuted(wanted.shape, (0, 3, 1, 2), "nchw_to_nhwc"))

    def apply(self, array: Any) -> Any:
        return array.transpose(0, 2, 3, 1)


@step_before("resize")
class Resize(Before):
    """Bilinear, from a frame of WIDTHxHEIGHT to the size that the next step takes."""

    takes_argument = True

    def __init__(self, argument: str) -> None:
        super().__init__(argument)
        match = _SIZE.match(argument)
        sides = [int(match.group(1)), int(match.group(2))] if match else [0, 0]
        if not 1 <= min(sides) <= max(sides) <= MAX_SIDE:
            raise Refusal("bad_request", f"preprocess: resize takes a size such as 640x480, not {argument[:40]!r}")
        self._width, self._height = sides
        self._axes: List[Tuple[int, Any, Any, Any]] = []

    def fit(self, wanted: Image) -> Image:
        import numpy

        rows = 2 if wanted.channel_axis == 1 else 1
        shape = list(wanted.shape)
        for axis, side in ((rows, self._height), (rows + 1, self._width)):
            # Centres of pixels lie on centres of pixels; beyond the edge, the edge goes on.
            centres = (numpy.arange(shape[axis]) + 0.5) * (side / shape[axis]) - 0.5
            low = numpy.clip(numpy.floor(centres), 0, side - 1).astype(int)
            form = [-1 if place == axis else 1 for place in range(4)]
            share = numpy.clip(centres - low, 0, 1).astype("float32").reshape(form)
            self._axes.append((axis, low, numpy.minimum(low + 1, side - 1), share))
            shape[axis] = side
        return Image(wanted.dtype, tuple(shape))

    def apply(self, array: Any) -> Any:
        import numpy

        result = array
        for axis, low, high, share in self._axes:
            left, right = numpy.take(result, low, axis).astype("float32"), numpy.take(result, high, axis)
            result = left + (right - left) * share
        return result.astype(array.dtype) if array.dtype.kind == "f" else numpy.rint(result).astype(array.dtype)


def _permuted(shape: Sequence[int], order: Sequence[int], name: str) -> Tuple[int, ...]:
    if len(shape) != 4:
        raise Refusal("bad_request", f"preprocess: {name} gives images of four dimensions, not {list(shape)}")
    return tuple(shape[axis] for axis in order)


@step_after("softmax")
def softmax(array: Any) -> Any:
    """Scores along the last axis become shares of one."""
    import numpy

    result = numpy.exp(array.astype("float32") - array.max(-1, keepdims=True))
    result /= result.sum(-1, keepdims=True)
    return result


@step_after("argmax")
def argmax(array: Any) -> Any:
    """The place of the largest score."""
    return array.argmax(-1)


@step_after("top5")
def top5(array: Any) -> Any:
    """The places of the five largest scores, the best first."""
    import numpy

    count = min(5, array.shape[-1])
    places = numpy.argpartition(array, -count, -1)[..., -count:]
    order = numpy.argsort(numpy.take_along_axis(array, places, -1), -1)[..., ::-1]
    return numpy.take_along_axis(places, order, -1)


@step_after("sigmoid")
def sigmoid(array: Any) -> Any:
    """Each score for itself becomes a number from 0 to 1."""
    import numpy

    return 1.0 / (1.0 + numpy.exp(-array.astype("float32")))
