"""Getting the agent onto a board: find a Python, look for the agent by its hash, send it where it is not there.

Three commands at most, and two where the agent is already there. Needs a POSIX shell and Python 3.8 on the board; no
root, no SFTP, no open port.
"""

from __future__ import annotations

import re
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from edgenas.errors import AgentFailed, ConnectionLost, DeviceDiskFull, PythonTooOld, TargetError, TransferCorrupt
from edgenas.lab.board_families import BoardFamily
from edgenas.lab.targets import Target
from edgenas.lab.text import clean, last_line
from edgenas.lab.transport import Transport

OLDEST_PYTHON = (3, 8)
FIND_S = 60.0
SEND_S = 180.0

_FOUND = b"EDGENAS-PYTHON "
_OTHER = b"EDGENAS-OTHER "
_DONE = b"EDGENAS-INSTALL "

# Runs under any Python, even one that is too old: so no syntax that Python 2 does not know.
_FIND_PY = """
import sys
if sys.version_info < (3, 8): sys.exit(3)
import hashlib, json, os
root, name, sha, number, wanted = sys.argv[1:6]
if wanted and os.path.realpath(sys.prefix) == os.path.realpath(os.path.join(root, "venv")):
    import shutil
    # The environment counts only where it was made from the interpreter that the target names.
    if os.path.realpath(shutil.which(wanted) or "") != os.path.realpath(sys._base_executable): sys.exit(3)
path = os.path.join(root, "agent", name)
have = False
try:
    with open(path, "rb") as stream: have = hashlib.sha256(stream.read()).hexdigest() == sha
    if have: os.utime(path, None)
except OSError: pass
version = "%d.%d.%d" % sys.version_info[:3]
print("EDGENAS-PYTHON " + json.dumps({"number": int(number), "version": version, "have": have}))
"""

# Agents that no host has used for a day go; a younger one may serve another host at this moment.
_SEND_PY = """
import hashlib, json, os, sys, time
root, name, sha, size = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
folder = os.path.join(root, "agent")
final = os.path.join(folder, name)
staged = os.path.join(folder, ".%s-%d.tmp" % (name, os.getpid()))
def say(**facts):
    print("EDGENAS-INSTALL " + json.dumps(facts))
    sys.exit(0)
data = sys.stdin.buffer.read()
if len(data) != size or hashlib.sha256(data).hexdigest() != sha:
    say(error="corrupt", message="%d bytes arrived of %d" % (len(data), size))
try:
    os.makedirs(folder, 0o700, exist_ok=True)
    for other in os.listdir(folder):
        path = os.path.join(folder, other)
        if path != final and other.endswith((".pyz", ".tmp")) and time.time() - os.stat(path).st_mtime > 86400:
            os.unlink(path)
    with open(staged, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(staged, final)
except OSError as error:
    for remove, path in ((os.unlink, staged), (os.rmdir, folder), (os.rmdir, root)):
        try: remove(path)
        except OSError: pass
    say(error="disk_full" if error.errno in (28, 122) else "os", message=str(error))
say(error="", message="")
"""

_FIND_SH = """
n=0
for p in {candidates}; do
  n=$((n+1))
  command -v "$p" >/dev/null 2>&1 || continue
  o=$("$p" -c {code} {root} {name} {sha} $n {wanted} 2>/dev/null </dev/null)
  case $o in *EDGENAS-PYTHON*) echo; echo "$o"; exit 0;; esac
  v=$("$p" --version 2>&1 </dev/null)
  echo; echo "EDGENAS-OTHER $p $v"
done
exit 0
"""


@dataclass(frozen=True)
class Installed:
    """An agent that is ready to be started.

    Attributes:
        command: Starts it, for the board's shell.
        python: The interpreter that runs it.
        python_version: Of that interpreter.
        sha256: Of the agent.
        sent_bytes: 0 where the board had this agent already.
        file_name: Of the agent, below ``ROOT/agent``.
    """

    command: str
    python: str
    python_version: str
    sha256: str
    sent_bytes: int
    file_name: str = ""


class _Answer(BaseModel):
    model_config = ConfigDict(strict=True)


class _Found(_Answer):
    number: int
    version: Annotated[str, StringConstraints(pattern=r"^\d+\.\d+\.\d+$", max_length=20)]
    have: bool


class _Done(_Answer):
    error: Annotated[str, StringConstraints(max_length=20)]
    message: Annotated[str, StringConstraints(max_length=4096)]


_M = TypeVar("_M", bound=_Answer)


def install(
    transport: Transport, target: Target, family: BoardFamily, home: Path, *, with_environment: bool = True
) -> Installed:
    """Make sure that the board has this edgenas's agent.

    Args:
        transport: To the board.
        target: The board.
        family: Its family.
        home: edgenas's own folder.
        with_environment: Prefer the interpreter of the environment that edgenas made there.

    Raises:
        PythonTooOld: There is no Python from 3.8 up; the message names what was found.
        DeviceDiskFull: The agent does not fit; nothing is left behind.
        TransferCorrupt: Twice something else arrived than was sent.
        AgentFailed: The board cannot run the commands.
        ConnectionLost: The link broke, or the board did not answer in time.
    """
    from edgenas_agent import bundle

    data, sha256 = bundle.build()
    name = bundle.file_name(sha256)
    root = shell_path(root_of(target, family, home), target.name)
    candidates = python_candidates(target, family, home, with_environment=with_environment)
    python, found = _find(transport, target, root, candidates, name, sha256)
    if not found.have:
        _send(transport, target, root, python, name, data, sha256)
    command = f"exec {python} {root}/agent/{name} --root {root}"
    return Installed(_in_sh(command), python, found.version, sha256, 0 if found.have else len(data), name)


def provisioner_command(target: Target, family: BoardFamily, home: Path, installed: Installed) -> str:
    """Starts the part of an installed agent that makes its environment."""
    root = shell_path(root_of(target, family, home), target.name)
    agent = f"{root}/agent/{installed.file_name}"
    return _in_sh(f"PYTHONPATH={agent} exec {installed.python} -m edgenas_agent.provisioner {root}")


def find_python(transport: Transport, target: Target, family: BoardFamily, home: Path) -> tuple[str, str]:
    """The interpreter that the agent would run under, as a word of shell, and its version.

    Raises:
        PythonTooOld: There is none from 3.8 up.
        AgentFailed: The board cannot run the commands.
        ConnectionLost: The link broke.
    """
    root = shell_path(root_of(target, family, home), target.name)
    python, found = _find(transport, target, root, python_candidates(target, family, home), "none", "none")
    return python, found.version


def root_of(target: Target, family: BoardFamily, home: Path) -> str:
    """The agent's folder on the board; may begin with ``~/``."""
    if target.transport == "local" and not target.root:
        return str(home.expanduser().resolve() / "boards" / target.name)
    return target.root or family.root


def python_candidates(target: Target, family: BoardFamily, home: Path, *, with_environment: bool = True) -> list[str]:
    """Interpreters to try, each as one word of shell; the environment's comes first."""
    environment = [shell_path(root_of(target, family, home), target.name) + "/venv/bin/python"]
    named = (target.python,) if target.python else (sys.executable,) if target.transport == "local" else family.python
    return (environment if with_environment else []) + [_word(python, target) for python in named]


def _word(python: str, target: Target) -> str:
    """An interpreter as one word of shell: a path, or a name that the board's shell looks up."""
    return shell_path(python, target.name) if python[0] in "~/" else shlex.quote(python)


def shell_path(path: str, name: str) -> str:
    """A path on the board as one word of shell; only a leading ``~/`` is expanded, and that by the board.

    Raises:
        TargetError: It is not absolute and does not begin with ``~/``, or holds control characters.
    """
    path = path.rstrip("/")
    if path == "~":
        return '"$HOME"'
    if not path.startswith(("/", "~/")) or not path.isprintable():
        raise TargetError(
            f"Target {name}: the path {path!r} does not begin with / or ~/.", hint="Give an absolute path."
        )
    return '"$HOME"/' + shlex.quote(path[2:]) if path.startswith("~/") else shlex.quote(path)


def _find(
    transport: Transport, target: Target, root: str, candidates: list[str], name: str, sha256: str
) -> tuple[str, _Found]:
    script = _FIND_SH.format(
        candidates=" ".join(candidates), code=shlex.quote(_FIND_PY), root=root, name=name, sha=shlex.quote(sha256),
        wanted=_word(target.python, target) if target.python else "''",
    )  # fmt: skip
    output, stderr = _run(transport, target, _in_sh(script), b"", FIND_S)
    for line in output.splitlines():
        if line.startswith(_FOUND):
            found = _parse(line[len(_FOUND) :], _Found, target)
            if not 1 <= found.number <= len(candidates):
                raise AgentFailed(f"{target.name} names a Python that it was not asked for.")
            return candidates[found.number - 1], found
    others = [clean(line[len(_OTHER) :], 100) for line in output.splitlines() if line.startswith(_OTHER)]
    if others:
        versions = re.findall(r"\d+\.\d+(?:\.\d+)?", " ".join(others))
        newest = max(versions, key=lambda text: [int(part) for part in text.split(".")], default="no known version")
        raise PythonTooOld(
            f"The newest Python on {target.name} is {newest}; the agent needs 3.8 or later "
            f"(found {'; '.join(others)}).",
            hint=_python_hint(target),
        )
    if b"EDGENAS" not in output and stderr:
        raise AgentFailed(f"{target.name} cannot run a shell command: {last_line(stderr) or 'it says nothing'}.")
    tried = ", ".join(word.replace('"$HOME"', "~") for word in candidates)
    raise PythonTooOld(f"There is no Python on {target.name} (tried {tried}).", hint=_python_hint(target))


def _python_hint(target: Target) -> str:
    return f"Install Python 3.8 or later on the board, or name one: `edgenas target set {target.name} --python PATH`."


def _send(transport: Transport, target: Target, root: str, python: str, name: str, data: bytes, sha256: str) -> None:
    command = _in_sh(f"exec {python} -c {shlex.quote(_SEND_PY)} {root} {name} {sha256} {len(data)}")
    done = _Done(error="corrupt", message="")
    for _ in range(2):
        output, stderr = _run(transport, target, command, data, SEND_S)
        lines = [line for line in output.splitlines() if line.startswith(_DONE)]
        if not lines:
            raise AgentFailed(
                f"The agent could not be installed on {target.name}: {last_line(stderr) or 'the board says nothing'}."
            )
        done = _parse(lines[-1][len(_DONE) :], _Done, target)
        if done.error != "corrupt":
            break
    if done.error == "corrupt":
        raise TransferCorrupt(f"The agent did not arrive whole on {target.name}: {clean(done.message)}.")
    if done.error == "disk_full":
        raise DeviceDiskFull(f"The disk of {target.name} is too full for the agent ({len(data)} bytes).")
    if done.error:
        raise AgentFailed(
            f"The agent could not be installed on {target.name}: {clean(done.message)}.",
            hint=f"Name a folder that may be written: `edgenas target set {target.name} --root PATH`.",
        )


def _run(transport: Transport, target: Target, command: str, data: bytes, timeout_s: float) -> tuple[bytes, bytes]:
    try:
        result = transport.run(command, data, timeout_s)
    except TimeoutError as error:
        raise ConnectionLost(f"{target.name} did not answer for {timeout_s:g} s.") from error
    return result.stdout, result.stderr


def _in_sh(script: str) -> str:
    """The login shell may be any; what it is given is one command with quoted words."""
    return f"exec sh -c {shlex.quote(script)}"


def _parse(text: bytes, model: type[_M], target: Target) -> _M:
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        raise AgentFailed(f"{target.name} answered the installation with something else: {clean(text, 80)}.") from error
