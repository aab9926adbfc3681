"""Finds the columns of the text, the label and the identifier."""

from collections.abc import Sequence
from dataclasses import dataclass

from kerora.data.column_names import LABEL_NAMES, TEXT_NAMES, column_by_name, plain_name
from kerora.data.trained_columns import settled_for
from kerora.errors import DataError, nearest
from kerora.notices import notice
from kerora.settings.fit import DataConfig

PAIRS = (
    ("sentence1", "sentence2"),
    ("premise", "hypothesis"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("question", "passage"),
    ("question", "answer"),
    ("query", "document"),
    ("text1", "text2"),
    ("text_a", "text_b"),
    ("sentence_a", "sentence_b"),
)
JOINED = (("title", "description"), ("subject", "body"))
# A column that is alone needs no label beside it, so prompts and halves of pairs are usual names too.
ONLY_NAMES = (*TEXT_NAMES, *(name for group in (*PAIRS, *JOINED) for name in group), "prompt", "prompts", "instruction")
"""Names that a column of texts can have if it is the only one."""


@dataclass(frozen=True)
class Columns:
    """The columns in use.

    Attributes:
        texts: text columns in order.
        labels: label columns in order; empty for unlabelled rows.
        id: identifier column, or None for row numbers.
        paired: whether the two text columns are a sentence pair.
    """

    texts: tuple[str, ...]
    labels: tuple[str, ...]
    id: str | None
    paired: bool

    @property
    def label(self) -> str | None:
        """The label column, or None for unlabelled rows. For tasks with one."""
        return self.labels[0] if self.labels else None


def find_columns(
    columns: Sequence[str], config: DataConfig, place: str, labelled: bool = True, header: bool = False
) -> Columns:
    """Choose the columns that the settings name. Without settings, choose them by their names, ignoring case.

    A column named ``text`` comes first, then known pairs (sentence1 and sentence2, premise and hypothesis, ...), then
    title with description and subject with body, then other usual names of text columns.

    Args:
        columns: the file's columns.
        config: the settings `text`, `text_join`, `label` and `id`.
        place: the file, for messages.
        labelled: whether a label column is needed. If not, the column of a table with one column is the text.
        header: whether the names are the first line of a text file. If it is the only column and its name is no usual
            one, the line could also be a text.

    Raises:
        DataError: a column is missing (the error lists the columns), one column is both text and label, or a first
            line can be a name or a text.
    """
    if header and not labelled and not config.text:
        _check_header(columns, place)
    # First, because the columns of a run take precedence over usual names.
    config = settled_for(columns, config, place, labelled)
    # Before the texts: --label can name a column that would else be found as the text, such as "comment".
    labels = _label_columns(columns, config, place) if labelled else ()
    texts = _text_columns([name for name in columns if name not in labels], config, place, columns, labelled)
    for label in labels:
        if label in texts:
            raise DataError(
                f"{place}: column '{label}' cannot be both the text and the label. Change --text or --label."
            )
    identifier = _id_column(columns, config, place, (*texts, *labels))
    return Columns(texts, labels, identifier, _is_paired(texts, config, place))


def _check_header(columns: Sequence[str], place: str) -> None:
    # A wrong guess would lose the first text, or predict a class for a heading.
    if len(columns) == 1 and column_by_name(columns, ONLY_NAMES) is None:
        name = columns[0] if len(columns[0]) <= 60 else f"{columns[0][:60]}..."
        raise DataError(
            f"{place}: the first line '{name}' can be the name of the column or a text. If it is a text, add --columns "
            "'text'. If it is the name, give it with --text (in a pre-training --text-column)."
        )


def _label_columns(columns: Sequence[str], config: DataConfig, place: str) -> tuple[str, ...]:
    if config.label:
        return tuple(column_named(name, columns, place, "label") for name in config.label)
    found = column_by_name(columns, LABEL_NAMES)
    others = [name for name in columns if plain_name(name) in LABEL_NAMES and name != found]
    if found is not None and others:
        listed = ", ".join(f"'{name:.40}'" for name in others)
        notice(
            f"The label column is '{found:.40}'. {listed} could hold labels too. The first of the names "
            f"{', '.join(LABEL_NAMES[:4])}, ... is taken. --label chooses another."
        )
    return (found or _fail(columns, place, "label", f"a label column ({', '.join(LABEL_NAMES[:5])}, ...)"),)


def _text_columns(
    candidates: Sequence[str], config: DataConfig, place: str, columns: Sequence[str], labelled: bool
) -> tuple[str, ...]:
    if config.text:
        return tuple(column_named(name, columns, place, "text") for name in config.text)
    if not labelled and len(columns) == 1:
        return (columns[0],)
    # A column "text" beside "title" or "question" is the whole text. Other usual names come after the pairs:
    # "sentence" beside "question" is the second half of a pair (QNLI), not a text of its own.
    for group in (TEXT_NAMES[:1], *PAIRS, *JOINED):
        found = [column_by_name(candidates, (name,)) for name in group]
        if all(found):
            return tuple(name for name in found if name)
    single = column_by_name(candidates, TEXT_NAMES)
    return (single or _fail(columns, place, "text", f"a text column ({', '.join(TEXT_NAMES[:5])}, ...)"),)


def _id_column(columns: Sequence[str], config: DataConfig, place: str, used: Sequence[str]) -> str | None:
    if config.id is not None:
        return column_named(config.id, columns, place, "id")
    # A column that is already the text or the label is no identifier, even with the name "id".
    return column_by_name([name for name in columns if name not in used], ("id",))


def _is_paired(texts: tuple[str, ...], config: DataConfig, place: str) -> bool:
    if config.text_join == "pair" and len(texts) != 2:
        raise DataError(
            f"{place}: text_join 'pair' needs two text columns. Received: {', '.join(texts)}. "
            "Name two with --text, or leave out --text-join."
        )
    # In the order of `PAIRS`: two columns that the user names in another order are joined, not paired.
    return config.text_join == "pair" or (config.text_join == "auto" and tuple(map(plain_name, texts)) in PAIRS)


def column_named(name: str, columns: Sequence[str], place: str, option: str) -> str:
    """Return `name` if there is such a column.

    Raises:
        DataError: there is no such column. The error lists the columns and names the option that chooses one.
    """
    if name in columns:
        return name
    return _fail(columns, place, option, f"the column '{name}'", nearest(name, columns))


def _fail(columns: Sequence[str], place: str, option: str, wanted: str, hint: str = "") -> str:
    listed = ", ".join(column if len(column) <= 40 else f"{column[:40]}..." for column in columns[:30])
    remedy = f"Name it with --{option}, or give --columns when the file has no header line."
    if len(columns) == 1 and any(separator in columns[0] for separator in ",;\t|"):
        remedy = "Give the separator of its fields with --delimiter."
    elif with_comma := next((column for column in columns if "," in column), None):
        remedy = f"Name it with --{option}. A name with a comma needs quotes inside: --{option} '\"{with_comma:.40}\"'."
    raise DataError(f"{place}: did not find {wanted}. Its columns: {listed}.{hint} {remedy}")
