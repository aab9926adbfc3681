"""The command group: loads a command's module when it is called, and turns errors into exit codes."""

import importlib
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import NoReturn

import click

from kerora.errors import KeroraError, nearest
from kerora.version import __version__

COMMANDS = ("fit", "evaluate", "report", "predict", "presets", "data", "init", "doctor")


class LazyGroup(click.Group):
    """A group whose commands live one a module and are imported by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of a working day."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"kerora.cli.{cmd_name}").command
        if not any("--debug" in parameter.opts for parameter in command.params):
            command.params.append(_debug_option())
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Name the nearest commands when one is unknown."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message}{nearest(args[0], COMMANDS)}", ctx) from error


def _debug_option() -> click.Option:
    # `run` looks for it before any command is parsed, so that its place does not matter
    return click.Option(["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an error.")


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="kerora")
def group() -> None:
    """Fine-tune Keras text models with LoRA, and see, use and trust the result.

    Start with `kerora fit`; it works without arguments.
    """


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit: 0 done, 1 a bug, 2 the user's input, 130/143 interrupted."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    debug = "--debug" in arguments
    try:
        result = group.main(args=arguments, prog_name="kerora", standalone_mode=False)
        return result if isinstance(result, int) else 0
    except click.exceptions.Exit as exit_request:
        return exit_request.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except KeroraError as error:
        return _fail(str(error), error.exit_code, debug)
    except (KeyboardInterrupt, click.Abort):
        return _fail("Interrupted.", 128 + signal.SIGINT, debug)
    except BrokenPipeError:
        # the reader of our output has gone, as in `kerora predict ... | head`
        sys.stderr.close()
        return 128 + signal.SIGPIPE
    except Exception:
        traceback.print_exc()
        return _fail("This is a bug in Kerora; the traceback above says where.", 1, debug=False)


def _fail(message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exc()
    click.echo(f"Error: {' '.join(message.split())}", err=True)
    return code
