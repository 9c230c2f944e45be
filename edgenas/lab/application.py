"""The application's view of a latency: with its steps before and after the inference, and at its pace."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from edgenas_agent import application_steps
from edgenas_agent.refusal import Refusal

from edgenas.errors import UsageError
from edgenas.lab.measurement import Measurement, Protocol


def step_names() -> tuple[list[str], list[str]]:
    """Names of the steps before and after the inference."""
    return application_steps.names()


def application_view(
    protocol: Protocol, interval_ms: float = 0.0, preprocess: Sequence[str] = (), postprocess: Sequence[str] = ()
) -> Protocol:
    """A protocol that times what an application would wait for.

    Args:
        protocol: How to time otherwise.
        interval_ms: Between the starts of two inferences; the time until the next is due is not counted.
        preprocess: Steps before the inference, such as ``uint8_to_float`` or ``resize:640x480``; counted.
        postprocess: Steps after it, such as ``softmax``; counted.

    Raises:
        UsageError: A step or the interval cannot be had; the error names it.
    """
    try:
        application_steps.before(preprocess)
        application_steps.after(postprocess)
    except Refusal as refusal:
        before, after = step_names()
        raise UsageError(
            f"{refusal.message}.", hint=f"Steps before: {', '.join(before)}. Steps after: {', '.join(after)}."
        ) from refusal
    changed = replace(
        protocol, interval_ms=float(interval_ms), preprocess=tuple(preprocess), postprocess=tuple(postprocess)
    )
    changed.check()
    return changed


def is_application_view(protocol: Protocol) -> bool:
    """Whether a protocol times more than the bare inference in a hot loop."""
    return bool(protocol.interval_ms or protocol.preprocess or protocol.postprocess)


def describe(measurement: Measurement) -> str:
    """The view in one sentence; empty for the bare inference in a hot loop."""
    rule = measurement.protocol
    if not is_application_view(rule):
        return ""
    steps = [", ".join(rule.preprocess), "inference", ", ".join(rule.postprocess)]
    text = f"the application's: {' + '.join(filter(None, steps))}"
    if not rule.interval_ms:
        return f"{text}, back to back"
    late = sum(sample > rule.interval_ms * 1e6 for sample in measurement.samples_ns)
    text += f", one every {rule.interval_ms:g} ms (the pause between is not counted)"
    return text if not late else f"{text}; {late} of {len(measurement.samples_ns)} took longer than that"
