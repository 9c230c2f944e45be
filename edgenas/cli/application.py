"""Options that time what an application waits for: its steps around the inference, and its pace."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgenas.lab import Protocol


@dataclass(frozen=True)
class View:
    """What the options say."""

    interval_ms: float
    preprocess: tuple[str, ...]
    postprocess: tuple[str, ...]

    def of(self, rule: Protocol) -> Protocol:
        """The protocol with this view.

        Raises:
            UsageError: A step cannot be had.
        """
        from edgenas.lab.application import application_view

        return application_view(rule, self.interval_ms, self.preprocess, self.postprocess)


def view_options(function: Any) -> Any:
    """``--interval-ms``, ``--preprocess`` and ``--postprocess``; the command gets a :class:`View` named ``view``."""

    @functools.wraps(function)
    def command(*args: Any, interval_ms: float, preprocess: str, postprocess: str, **others: Any) -> Any:
        return function(*args, view=View(interval_ms, _words(preprocess), _words(postprocess)), **others)

    for option in (
        click.option("--postprocess", default="", metavar="STEPS", help="Timed after it, such as softmax,top5."),
        click.option(
            "--preprocess", default="", metavar="STEPS",
            help="Timed before the inference, such as resize:640x480,uint8_to_float,normalize.",
        ),
        click.option(
            "--interval-ms", default=0.0, type=click.FloatRange(0, 60000),
            help="Start an inference every so many ms, as an application does that gets images; 0 is back to back.",
        ),
    ):  # fmt: skip
        command = option(command)
    return command


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())
