"""The root command: global options, commands loaded when they are called, and errors turned into messages."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from edgenas import __version__
from edgenas.cli import output
from edgenas.errors import EdgenasError
from edgenas.pipeline.workspace import MOST_ARTIFACTS_GB

# name -> (module, one line of help): the line stands here so that `edgenas --help` imports no command.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("edgenas.cli.demo", "Show the whole job: train, search, deploy, report."),
    "doctor": ("edgenas.cli.doctor", "Say what is missing, and the command that mends it."),
    "target": ("edgenas.cli.target", "Keep the inventory of boards."),
    "agent": ("edgenas.cli.agent", "Install runtimes and the agent on a board."),
    "supernet": ("edgenas.cli.supernet", "List, train and look into super-networks."),
    "compile": ("edgenas.cli.compile", "Turn one configuration into a checked artifact."),
    "measure": ("edgenas.cli.measure", "Measure one artifact on a board."),
    "profile": ("edgenas.cli.profile", "Measure any model, and say where its time goes."),
    "search": ("edgenas.cli.search", "Run, resume and show studies."),
    "data": ("edgenas.cli.data", "Import latencies that others measured."),
    "predictor": ("edgenas.cli.predictor", "Learn boards' latencies from few measurements."),
    "predict": ("edgenas.cli.predict", "Tell a configuration's latency, and where it comes from."),
    "table": ("edgenas.cli.table", "Build and compare latency tables."),
    "deploy": ("edgenas.cli.deploy", "Put the pick of a study onto a board, verified."),
    "releases": ("edgenas.cli.releases", "List the releases on a board."),
    "rollback": ("edgenas.cli.rollback", "Go back to the release before."),
    "report": ("edgenas.cli.report", "Write a study's report as one HTML file."),
}


class LazyGroup(click.Group):
    """A group that imports a command's module only when that command is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(COMMANDS[cmd_name][0])
        command: click.Command = module.command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError:
            ctx.fail(f"There is no command {args[0]!r}. Choose one of {', '.join(COMMANDS)}.")


EXIT_CODES = """
\b
Exit codes: 0 done, 1 negative result, 2 usage or configuration, 3 board or link,
4 trust, 5 busy, 6 this computer, 70 a bug in edgenas, 130 stopped by Ctrl-C.
"""


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EXIT_CODES)
@click.version_option(__version__, message="edgenas %(version)s")
@click.option(
    "--home",
    type=click.Path(file_okay=False, path_type=Path),
    envvar="EDGENAS_HOME",
    help="Folder for the store, artifacts and keys.  [default: the user's data folder; env: EDGENAS_HOME]",
)
@click.option("--store", envvar="EDGENAS_STORE", help="Database URL, if not a file in the home.  [env: EDGENAS_STORE]")
@click.option(
    "--artifacts-gb",
    type=click.FloatRange(min=0.0),
    envvar="EDGENAS_ARTIFACTS_GB",
    default=MOST_ARTIFACTS_GB,
    show_default=True,
    help="About what compiled candidates may take here; the longest unused go first.  [env: EDGENAS_ARTIFACTS_GB]",
)
@click.option("--debug", is_flag=True, envvar="EDGENAS_DEBUG", help="Show tracebacks.")
@click.pass_context
def app(ctx: click.Context, home: Path | None, store: str | None, artifacts_gb: float, debug: bool) -> None:
    """From a trained super-network to the best sub-network for each of your boards.

    Measured on the board, and running on it. Begin with `edgenas demo`.
    """
    ctx.obj = {"home": home, "store": store, "artifacts_gb": artifacts_gb, "debug": debug}


def run(args: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; errors of edgenas become two lines on stderr."""
    arguments = list(sys.argv[1:] if args is None else args)
    try:
        result: Any = app.main(arguments, prog_name="edgenas", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Abort:
        output.error("Stopped.")
        return 130
    except KeyboardInterrupt:
        output.error("Stopped.")
        return 130
    except click.ClickException as error:
        error.show()
        return 2
    except EdgenasError as error:
        if _debug(arguments):
            raise
        output.error(error.message, error.hint)
        return error.exit_code
    except BrokenPipeError:
        # The reader of our output went away (`edgenas ... | head`): that is its right.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if _debug(arguments):
            raise
        output.error(
            f"Unexpected {type(error).__name__}: {error}",
            "This is a fault in edgenas: run the command again with `edgenas --debug ...` and report what it prints.",
        )
        return 70


def _debug(arguments: Sequence[str]) -> bool:
    return "--debug" in arguments or os.environ.get("EDGENAS_DEBUG", "") not in ("", "0")


def main() -> NoReturn:
    """Entry point of the console script."""
    sys.exit(run())
