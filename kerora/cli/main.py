"""The command group. It imports the module of a command when it is called, and turns errors into exit codes."""

import contextlib
import errno
import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

import click

from kerora.cli.streams import escape_note, lacking, prepare_streams
from kerora.errors import KeroraError, as_written, nearest
from kerora.notices import shown
from kerora.places import settle_home
from kerora.settings.foreign import own_name
from kerora.version import __version__

# A list and not the files of the folder: the order of the help, and no import of a module that is no command.
COMMANDS = (
    *("fit", "tune", "pretrain", "evaluate", "report", "predict", "embed", "clean", "augment", "generate", "chat"),
    *("merge", "export", "import", "presets", "data", "init", "doctor"),
)
# The name that click derives from the program name. The scripts of a shell set it.
COMPLETION_VARIABLE = "_KERORA_COMPLETE"
REMEDIES = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "Free space or write elsewhere.")
REMEDIES |= dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "Change its permissions or choose another path.")
REMEDIES[errno.ENAMETOOLONG] = "Choose a shorter name."


class LazyGroup(click.Group):
    """A group with one module per command. A module is imported by the name of the command."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the commands in the order of their usual use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of one command."""
        if cmd_name not in COMMANDS:
            return None
        # The import is here because the modules of all commands together would make `kerora --help` slow.
        command: click.Command = importlib.import_module(f"kerora.cli.{cmd_name}").command
        # The command object stays in its module, so a second call in the same process finds the option there.
        if not any("--debug" in parameter.opts for parameter in command.params):
            command.params.append(_debug_option())
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Add the nearest command names to the error of an unknown command."""
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message}{nearest(args[0], COMMANDS)}", ctx) from error


def _debug_option() -> click.Option:
    # Only for the help text and the parser: `run` searches the raw arguments, so --debug may stand anywhere.
    return click.Option(["--debug"], is_flag=True, expose_value=False, help="Show the traceback of an error.")


@click.group(
    cls=LazyGroup,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("--debug", is_flag=True, expose_value=False, help="Show the traceback of an error.")
@click.version_option(__version__, prog_name="kerora")
@click.pass_context
def group(context: click.Context) -> None:
    """Fine-tune Keras text models with LoRA, and evaluate, use and share the result.

    Start with `kerora fit`. It needs no arguments.
    """
    # invoke_without_command: since version 8.2, click itself would make a missing command an error.
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


# A subclass, so that every place that handles Ctrl-C handles SIGTERM too.
class Terminated(KeyboardInterrupt):
    """SIGTERM asked the process to end. As with Ctrl-C, temporary files are removed before the exit."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit. Codes: 0 success, 1 a bug, 2 an error in the input, 130 or 143 interrupted."""
    if COMPLETION_VARIABLE in os.environ:
        # A shell asks for completions: click answers and exits. `run` passes by `group.main`, which does that.
        group.main(prog_name="kerora", complete_var=COMPLETION_VARIABLE)
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command and return its exit code."""
    with as_written():
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    # First, because the notes and errors below need a standard error that can be written.
    prepare_streams()
    if (home := settle_home()) is not None:
        _note(f"There is no home directory, so the caches are in {home}. Set HOME to choose another place.")
    try:
        # a copy, because click empties the list
        with shown(_note), _terminable(), group.make_context("kerora", list(arguments)) as context:
            group.invoke(context)
            # Inside the try block: a full disk or a closed pipe shows only when the buffer is written.
            sys.stdout.flush()
        _note(escape_note())
        return 0
    except (Exception, KeyboardInterrupt, SystemExit) as error:
        return _exit_code(error, debug="--debug" in arguments)


def _exit_code(error: BaseException, debug: bool) -> int:
    """Print the error and return the exit code. The error is one line, except for a bug."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.ClickException):
        return _fail(_usage(error), 2)
    if isinstance(error, KeroraError):
        return _fail(str(error), error.exit_code, debug)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        number = signal.SIGTERM if isinstance(error, Terminated) else signal.SIGINT
        # 128 + the number of the signal is the convention of shells: 130 for SIGINT, 143 for SIGTERM.
        return _fail("Interrupted.", 128 + number, debug)
    # rich turns a closed pipe into SystemExit
    if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
        _discard_output()  # the reader has closed the pipe, as in `kerora predict ... | head`
        return 128 + signal.SIGPIPE
    # Only with `data_output`: elsewhere the encoding of the output cannot fail.
    if isinstance(error, UnicodeEncodeError) and (message := lacking(error)) is not None:
        return _fail(message, 2, debug)
    # A full disk or a missing permission is no bug. Other operating system errors show a traceback.
    if isinstance(error, OSError) and error.errno in REMEDIES:
        _discard_output()
        return _fail(f"{error.filename or 'Output'}: {error.strerror}. {REMEDIES[error.errno]}", 2, debug)
    traceback.print_exception(error)
    return _fail("This is a bug in Kerora. The traceback above shows the place.", 1)


def _fail(message: str, code: int, debug: bool = False) -> int:
    if debug:
        traceback.print_exc()
    click.echo(f"Error: {' '.join(message.split())}", err=True)
    return code


def _note(text: str) -> None:
    if text:
        click.echo(f"Note: {text}", err=True)


def _usage(error: click.ClickException) -> str:
    """Return one line: the error of the command line, and the command that shows the help."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "kerora"  # errors before the parsing have no context
    message = error.format_message()
    if context is not None:
        message = _with_own_option(error, context.command) or message
    return f"{message}{'' if message.endswith(('.', '?')) else '.'} See: {path} --help"


def _with_own_option(error: click.ClickException, command: click.Command) -> str | None:
    """Return the message about an option that this command has by another name, or about data without an option."""
    # {max_length: --max-length}: `own_name` knows settings by their keys.
    options = {name[2:].replace("-", "_"): name for parameter in command.params for name in parameter.opts}
    if isinstance(error, click.NoSuchOption):
        own = own_name(error.option_name.lstrip("-"), options.keys())
        return f"No such option '{error.option_name}'. Here it is {options[own]}." if own else None
    # Users of other tools give the data as an argument: kerora fit rows.csv.
    if error.format_message().startswith("Got unexpected extra argument") and "data" in options:
        return f"{error.format_message().rstrip('.')}. Name data with --data"
    return None


def _discard_output() -> None:
    # Buffered output cannot be written. Python would try again at exit and print an error.
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """Turn SIGTERM into an exception like Ctrl-C, so that no temporary file is left."""
    # Python allows signal handlers only in the main thread. A script may call `run` in another one.
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
