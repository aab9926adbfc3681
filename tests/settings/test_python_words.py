"""A message as a script reads it: arguments in place of options."""

import subprocess
import sys

import pytest

from kerora.errors import ConfigError, as_written, spoken
from kerora.exchange.export import FORMATS
from kerora.notices import Notice, naming, notice
from kerora.settings.python_words import EXPORTS, in_python


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("Name it with --label.", "Name it with label=."),
        ("Give --validation, or a --validation-split greater than 0.",
         "Give validation=, or a validation_split= greater than 0."),
        ("Lower --learning-rate, keep --clip-norm above 0, or use --precision float32.",
         "Lower learning_rate=, keep clip_norm= above 0, or use precision='float32'."),
        ("Read it with --encoding cp1252, or set --test-split 0.",
         "Read it with encoding='cp1252', or set test_split=0."),
        ("Leave --task out. Received: --task causal-lm", "Leave task= out. Received: task='causal-lm'"),
        ("Lower --batch-size (and raise --accumulate).", "Lower batch_size= (and raise accumulate=)."),
        ("Drop them with --skip-bad-rows, or add --force.", "Drop them with skip_bad_rows=True, or add force=True."),
        ("Give --no-early-stopping.", "Give early_stopping=False."),
        ("for example with --set 'data.class_names=a,b'.", "for example with class_names='a,b'."),
        ("""Name it: --text '"what, why"'.""", """Name it: text='"what, why"'."""),
        ("Give a label with --fill LABEL, or --output-format.", "Give a label with fill=LABEL, or form=."),
        ("Add --format txt. Export with --format transformers.", "Add format='txt'. Export with form='transformers'."),
        ("`--data` also takes a file.", "`data=` also takes a file."),
        ("Choose another --study, a longer --timeout.", "Choose another study=, a longer timeout=."),
        # commands, options that Python does not have, and data
        ("Continue with: kerora fit --resume runs/a b. Give --run.",
         "Continue with: kerora fit --resume runs/a b. Give run=."),
        ("Run `kerora evaluate RUN --test FILE` or pip install --no-deps x, or use --sampler tpe.",
         "Run `kerora evaluate RUN --test FILE` or pip install --no-deps x, or use sampler='tpe'."),
        ("--push needs a name. the text '--label x' in a--label.csv",
         "--push needs a name. the text '--label x' in a--label.csv"),
    ],
)  # fmt: skip
def test_options_become_arguments(written: str, read: str) -> None:
    assert in_python(written) == read


def test_the_exports_are_those_of_the_exchange() -> None:
    assert set(EXPORTS) == set(FORMATS)


def test_an_estimator_has_names_of_its_own() -> None:
    assert in_python("Give --seed or --validation-split 0.2.", {"seed": "random_state"}) == (
        "Give random_state= or validation_split=0.2."
    )


def test_a_script_reads_arguments_and_the_command_line_options() -> None:
    error = ConfigError("Name it with --label.")
    assert str(error) == spoken("Name it with --label.") == "Name it with --label."
    with as_written(False):
        assert str(error) == spoken("Name it with --label.") == "Name it with label=."
        with pytest.warns(Notice, match="Name it with label=.$"):
            notice("Name it with --label.")
        with pytest.raises(ConfigError) as caught, naming(lambda text: text.replace("--label", "--text")):
            raise error
    assert str(caught.value) == "Name it with --text."


def test_import_loads_no_settings_for_the_messages() -> None:
    code = """
import sys, kerora
assert "kerora.settings.python_words" not in sys.modules
from kerora.errors import ConfigError
assert str(ConfigError("Add --force.")) == "Add force=True."
"""
    subprocess.run([sys.executable, "-c", code], check=True)
