"""What times are worth that a program told of itself."""

from __future__ import annotations

#: Fewer calls of a program that tells only a summary say nothing about how far it may be off.
LEAST_CALLS = 3


def worth(runtime: str, statistic: str, runs: int, calls: int, verdict: str) -> tuple[str, tuple[str, ...]]:
    """The verdict, and the sentences that a reader of the number must know.

    Args:
        runtime: Name of the program.
        statistic: What each of its times is: ``sample``, ``median`` or ``mean``.
        runs: Timed runs behind all of them; 0 where it does not tell.
        calls: How often it was called.
        verdict: By the times alone.
    """
    evidence = [f"{runtime} measures by itself and tells no processor time: preemption was not looked for."]
    if statistic != "sample":
        of = f"{runs} runs" if runs else "its runs"
        times = "one call" if calls == 1 else f"{calls} calls"
        evidence.append(
            f"{runtime} tells only the {statistic} of {of} in {times}: how single runs differ is not known."
        )
        if calls < LEAST_CALLS and verdict == "ok":
            verdict = "noisy"
            evidence.append(f"Fewer than {LEAST_CALLS} such times have no interval.")
    return verdict, tuple(evidence)
