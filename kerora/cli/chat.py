"""`kerora chat`: chat with a dialogue model."""

from typing import Any, TextIO

import click

from kerora.cli.options import SettingsCommand, import_models, sampling_of, sampling_options
from kerora.cli.streams import text_input
from kerora.errors import DataError


@click.command("chat", cls=SettingsCommand)
@click.argument("run")
@sampling_options(temperature=0.7)
@click.option("--system", help="System turn at the start of the conversation.")
@click.option("--preset", help="Path or name of the base model, if it moved since the run was made.")
def command(run: str, system: str | None, preset: str | None, **values: Any) -> None:
    """Chat with RUN, the run of a dialogue model.

    One line is one turn. The model sees the whole conversation. /reset starts a new conversation. /quit or the end
    of the input ends the command.
    """
    # Before the import of Keras: a closed standard input is an error that needs no wait.
    source = text_input()
    import_models(run)
    from kerora.runs.generate import Conversation, PromptRunner

    runner = PromptRunner(run, preset, chat=True, system=system)
    conversation = Conversation(runner, sampling_of(values, temperature=0.7))
    # A note and not an error: a model of plain texts can still continue a dialogue.
    if runner.trained_on != "turns":
        way = (
            "The end-of-text token ends each turn" if runner.model.tokenizer.chat is None else "It has a chat template"
        )
        click.echo(f"Note: this model was not trained on conversations. {way}.", err=True)
    on_terminal = source.isatty()
    while True:
        if on_terminal:
            # On standard error, so that a redirected output holds the answers alone.
            click.echo("you: ", nl=False, err=True)
        line = _line(source)  # empty only at the end of the input: an empty line is "\n"
        text = line.strip()
        if not line or text == "/quit":
            return
        if text == "/reset":
            conversation.reset()
        elif text:
            _answer(conversation, text)


def _line(source: TextIO) -> str:
    try:
        return source.readline()
    except UnicodeDecodeError as error:
        raise DataError(
            f"Standard input is not {source.encoding}: byte 0x{error.object[error.start]:02x}. Set PYTHONIOENCODING to "
            "the encoding of the text, for example latin-1."
        ) from error


def _answer(conversation: Any, text: str) -> None:
    # Tokens are shown while they are generated, so the count is compared only at the end.
    before = conversation.forgotten
    for piece in conversation.answer(text):
        click.echo(piece, nl=False)
    click.echo()
    if conversation.forgotten > before:
        click.echo(f"(the oldest {conversation.forgotten - before} turns no longer fit)", err=True)
