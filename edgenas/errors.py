"""Every error that edgenas raises on purpose: one root, and for each who is to blame, what to do, and an exit code.

The command line prints ``error: MESSAGE`` and ``hint: HINT`` and leaves with ``exit_code``; it shows a traceback only
for what is not an :class:`EdgenasError`.

Exit codes: 0 done, 1 a negative result (nothing meets the constraint, a check found faults, a candidate failed),
2 wrong usage or configuration, 3 a board or the link to it, 4 trust (host key, authentication), 5 busy,
6 this computer (disk, store), 70 a bug in edgenas, 130 stopped by Ctrl-C.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar


class Blame(StrEnum):
    """Who has to act before the same thing can succeed."""

    USER = "user"
    CANDIDATE = "candidate"
    DEVICE = "device"
    LINK = "link"
    HOST = "host"
    BUG = "bug"


class EdgenasError(Exception):
    """Root of all errors of edgenas.

    Args:
        message: One sentence that names the thing at fault (file, field, target, configuration).
        hint: The next command or edit, in the imperative. Defaults to the class's own.
    """

    blame: ClassVar[Blame] = Blame.BUG
    exit_code: ClassVar[int] = 70
    default_hint: ClassVar[str] = "This is a fault in edgenas: run again with --debug and report what it prints."

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.default_hint

    @property
    def kind(self) -> str:
        """The name under which the store keeps this failure, for example ``CandidateCrashed``."""
        return type(self).__name__

    def __str__(self) -> str:
        return self.message


class UnexpectedFault(EdgenasError):
    """Something failed that nothing was foreseen for; kept as a failure so that a study can go on."""


# ---------------------------------------------------------------------------------------------------- the user's


class UsageError(EdgenasError):
    """The request cannot be carried out as it was written."""

    blame = Blame.USER
    exit_code = 2
    default_hint = "See `edgenas --help`."


class SpaceError(UsageError):
    """A search space is malformed, or a configuration lies outside it."""

    default_hint = "Compare the configuration with `edgenas supernet show`."


class SuperNetworkError(UsageError):
    """A super-network is unknown or does not meet the protocol."""

    default_hint = "List the known ones with `edgenas supernet list`."


class CheckpointError(UsageError):
    """A checkpoint is missing, damaged, or belongs to another super-network."""

    default_hint = "Train one with `edgenas supernet train`, or name another file."


class TrainingDiverged(UsageError):
    """A training's loss is no finite number any more."""

    exit_code = 1
    default_hint = "Train with a lower --learning-rate; the file still holds what was saved last."


class DataError(UsageError):
    """A data set is missing, unreadable or of the wrong shape."""

    default_hint = "Data is `digits`, a folder of class folders, an .npz file, or `module:function`."


class ObjectiveError(UsageError):
    """An objective, constraint or pick cannot be parsed or computed."""

    default_hint = "Write objectives like `accuracy max`, constraints like `latency_ms@pi4<=30`."


class TacticError(UsageError):
    """A search tactic is unknown or was given options that it does not have."""

    default_hint = "List the tactics with `edgenas search tactics`."


class TargetError(UsageError):
    """A target or board family is unknown or wrongly described."""

    default_hint = "List the targets with `edgenas target list`."


class StudyError(UsageError):
    """A study is unknown, or exists already under that name with other settings."""

    default_hint = "List the studies with `edgenas search list`."


class ReleaseError(UsageError):
    """There is no such release, or nothing to roll back to."""

    default_hint = "List the releases with `edgenas releases TARGET`."


class NothingFeasible(EdgenasError):
    """The search is done and no measured candidate meets the constraints."""

    blame = Blame.USER
    exit_code = 1
    default_hint = "Relax the constraint, or go on with a larger budget: `edgenas search resume STUDY --budget N`."


# ------------------------------------------------------------------------------------------------ the candidate's


class CandidateError(EdgenasError):
    """One candidate failed; the study goes on with the others."""

    blame = Blame.CANDIDATE
    exit_code = 1
    default_hint = "The study goes on without it; `edgenas search show STUDY --failures` lists all failures."


class CompileError(CandidateError):
    """No way of compiling knows a layer of this sub-network, or the artifact is not valid."""


class UnknownLayer(CompileError):
    """The direct compiler does not know a layer; torch's own exporter may.

    Args:
        layer: Path of the layer inside the sub-network.
        reason: What is not known about it.
    """

    def __init__(self, layer: str, reason: str) -> None:
        super().__init__(f"layer {layer}: {reason}")
        self.layer = layer
        self.reason = reason


class OutputMismatch(CandidateError):
    """An artifact's output differs from the sub-network's by more than the tolerance."""


class CandidateCrashed(CandidateError):
    """The measurement process died by a signal or left without a result."""


class CandidateTimeout(CandidateError):
    """The measurement was not done by its deadline and was killed on the board."""


class CandidateOutOfMemory(CandidateError):
    """The board had not enough memory for this candidate."""


class CandidateRejected(CandidateError):
    """The runtime on the board refused to load the artifact."""


class ResultUnread(CandidateError):
    """A program that measures by itself ended well, but told no time where its declaration looks for one."""

    default_hint = "Compare the pattern in the runtime's declaration with what the program printed."


class CandidateBarred(CandidateError):
    """Boards went down while they measured this candidate; it is given to no board any more."""

    default_hint = "Measure it by hand on a board that may go down: `edgenas measure`."


class EvaluationFailed(CandidateError):
    """The user's evaluation gave no usable value for a configuration."""


# ------------------------------------------------------------------------------------- boards and the way to them


class DeviceError(EdgenasError):
    """A board cannot do what was asked of it."""

    blame = Blame.DEVICE
    exit_code = 3
    default_hint = "Look the board over with `edgenas doctor TARGET`."


class AgentFailed(DeviceError):
    """The agent on the board ended or answered out of turn."""


class BoardRebooted(DeviceError):
    """The board restarted in the middle of a measurement, which does not count."""


class BoardQuarantined(DeviceError):
    """No board is left that may do this work: each was set aside for the reason in the message."""

    default_hint = "Mend the board (`edgenas doctor TARGET`), then go on with `edgenas search resume STUDY`."


class PythonTooOld(DeviceError):
    """The board has no Python from 3.8 up."""

    default_hint = "Install Python 3.8 or later on the board, or name one: `edgenas target set TARGET --python PATH`."


class RuntimeMissing(DeviceError):
    """The runtime that an artifact needs is not installed on the board."""

    default_hint = "Run `edgenas doctor TARGET` for the command that installs it."


class NotPrepared(DeviceError):
    """A setting that was asked for could not be had on the board; nothing of it was left changed."""

    default_hint = "Give that user the right on the board, or measure without --prepare."


class Unmeasurable(DeviceError):
    """However often it was tried, a board did not time a candidate well enough; what was measured is kept."""

    exit_code = 1
    default_hint = "Look for what disturbs the board with `edgenas doctor TARGET`, or use `--protocol rigorous`."


class DeviceDiskFull(DeviceError):
    """The board's disk is full; what was half written has been removed."""

    default_hint = "Free space on the board, then go on with `edgenas search resume STUDY`."


class VerificationFailed(DeviceError):
    """A release did not behave on the board as it did on the host; it was not activated."""

    exit_code = 1
    default_hint = "The release that was active before still is; see `edgenas releases TARGET`."


class PowerFailed(DeviceError):
    """The user's command that switches a board's power failed or did not end."""

    default_hint = "Try the command by hand; `edgenas target show TARGET` names it."


class LinkError(EdgenasError):
    """The way to a board is broken."""

    blame = Blame.LINK
    exit_code = 3
    default_hint = "Check the cable and the network, then try `edgenas target check TARGET`."


class Unreachable(LinkError):
    """No connection to the board could be made."""


class ConnectionLost(LinkError):
    """An established connection to the board broke."""

    default_hint = "Nothing that was shown is lost: go on with `edgenas search resume STUDY`."


class TransferCorrupt(LinkError):
    """What arrived on the board is not what was sent; it was discarded."""


class LeaseLost(LinkError):
    """The hold on a board ended while it was in use, mostly because the board heard nothing from here for too long.

    What came of the work meanwhile does not count, for somebody else may have used the board.
    """

    default_hint = "Go on with `edgenas search resume STUDY`; nothing that was shown is lost."


class TrustError(EdgenasError):
    """A board or the host could not prove who it is."""

    blame = Blame.USER
    exit_code = 4
    default_hint = "See `edgenas target check TARGET`."


class HostKeyUnknown(TrustError):
    """The board's host key is in no known_hosts file."""


class HostKeyChanged(TrustError):
    """The board answers with another host key than the known one. Nothing was sent."""


class AuthenticationFailed(TrustError):
    """The board accepted none of the keys."""


class Busy(EdgenasError):
    """Somebody else holds the board, the study or the store."""

    blame = Blame.USER
    exit_code = 5
    default_hint = "Wait for the other one, or stop it."


class BoardBusy(Busy):
    """Somebody else holds the board; the message says who, what for, since when and until when."""

    default_hint = "Wait for it with --wait, or see `edgenas target status TARGET`."


# ----------------------------------------------------------------------------------------------------- this computer


class HostError(EdgenasError):
    """This computer cannot go on: disk, memory, a missing program or package."""

    blame = Blame.HOST
    exit_code = 6
    default_hint = "Look this computer over with `edgenas doctor`."


class StoreError(HostError):
    """The store cannot be opened, read or written."""


class MissingExtra(HostError):
    """An optional package is not installed."""

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"The Python package {package} is not installed.", hint=f"Install it with `pip install 'edgenas[{extra}]'`."
        )
