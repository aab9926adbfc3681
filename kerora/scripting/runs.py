"""`kerora.evaluate` and `kerora.predict`: a run on rows in files or in memory."""

import hashlib
import io
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import narwhals.stable.v2 as nw

from kerora.data.bad_rows import BadRows
from kerora.data.memory import is_in_memory
from kerora.errors import ConfigError
from kerora.runfolder import RunFolder
from kerora.runs.evaluate import Evaluation, evaluate_run
from kerora.runs.predict import predict_file
from kerora.scripting.inputs import written
from kerora.scripting.request import are_columns
from kerora.settings.flat import from_flat
from kerora.tasks.abstention import Abstention

HASH_DIGITS = 8


def evaluate(
    path: Path | str,
    settings: Any = None,
    *,
    test: Any = None,
    preset: str | Path | None = None,
    output: Path | str | None = None,
    force: bool = False,
    baseline: bool | None = None,
    abstain_below: float | None = None,
    target_accuracy: float | None = None,
    **flat: Any,
) -> Evaluation:
    """Evaluate a run and write metrics.json, and for a classifier predictions.csv.

    Args:
        path: the run folder.
        settings: the rows, as `test`. Or dotted ``data.`` settings that replace those of the run.
        test: the rows, in a file or in memory (see `kerora.fit`). Default: the validation and test rows of the run.
        preset: path or name of the base model, if it moved since the run was made.
        output: folder of the results. Default: the run folder for its own rows, else ``RUN/evaluations/<name>``. The
            name of rows in memory is made from their content. The same rows give the same folder, which is replaced.
        force: whether to replace earlier results.
        baseline: whether to fit the baseline again and evaluate it too. Default: as in the training, if the training
            rows of the run are in a file or bundled.
        abstain_below: probability, 0 to 1. The metric ``coverage`` of each split then tells how many rows have a score
            from there on, and their accuracy.
        target_accuracy: the same with the threshold that reaches this accuracy; see `kerora.predict`.
        **flat: settings by the names of their options: ``text="message"``.

    Raises:
        ConfigError: a threshold is no probability, or both are given.
        RunError: the path is not a run, or the results exist. Or no threshold reaches the accuracy.
        DataError: the rows cannot be used, or hold a label that the run does not know.
    """
    call = "kerora.evaluate"
    if settings is not None and not (isinstance(settings, Mapping) and not are_columns(settings)):
        if test is not None:
            raise ConfigError(f"{call}: the second argument and test= both give rows. Leave one of them out.")
        settings, test = None, settings
    given = {**(settings or {}), **from_flat(flat, call=call)}
    abstain = Abstention(abstain_below, target_accuracy)
    if not is_in_memory(test):
        given |= {} if test is None else {"data.test": test}
        return evaluate_run(path, given, preset=preset, output=output, force=force, baseline=baseline, abstain=abstain)
    run = RunFolder.open(path)
    with written(run, test, "test", given) as file:
        if output is None:
            text = json.dumps(given, sort_keys=True, default=str).encode()
            digest = hashlib.sha256(file.read_bytes() + text).hexdigest()[:HASH_DIGITS]
            output, force = run.evaluations / f"test-{digest}", True
        given["data.test"] = str(file)
        return evaluate_run(path, given, preset=preset, output=output, force=force, baseline=baseline, abstain=abstain)


def predict(
    path: Path | str,
    source: Any,
    output: Path | str | None = None,
    *,
    settings: Mapping[str, Any] | None = None,
    form: str | None = None,
    submission: bool = False,
    fill: str | None = None,
    batch_size: int = 64,
    preset: str | Path | None = None,
    force: bool = False,
    stream: IO[str] | None = None,
    skipped: BadRows | None = None,
    abstain_below: float | None = None,
    target_accuracy: float | None = None,
    **flat: Any,
) -> Any:
    """Predict every text of a file or of rows in memory: id, label, score and p_<class> of each.

    Args:
        path: the run folder.
        source: the path of a file, a binary stream, or rows in memory: a list of texts, a frame, a dict of columns, or
            another form of `kerora.fit`.
        output: a .csv or .jsonl file. On an error, no file is left.
        settings: dotted ``data.`` settings of the columns. The other settings are those of the run.
        form: ``csv`` or ``jsonl``. None takes the ending of the output, or ``csv`` without an output.
        submission: whether to write only id and label.
        fill: label of the rows that cannot be used, for a submission. Default: such a row is an error.
        batch_size: rows in a batch. Default: 64.
        preset: path or name of the base model, if it moved since the run was made.
        force: whether to replace an existing output file.
        stream: a text stream to write to, in place of `output`.
        skipped: counts the rows that `skip_bad_rows` drops.
        abstain_below: probability, 0 to 1. The label of a row with a lower score is None, in CSV empty.
        target_accuracy: accuracy that the other labels are to have; see `Abstention`. A notice says the threshold.
        **flat: settings by the names of their options: ``text="message"``.

    Returns:
        The number of rows, if `output` or `stream` is given. Otherwise the predictions with six decimals, without
        dropped rows: a frame of the library of `source`, else a list of dicts. Without ids the rows count from 1.

    Raises:
        ConfigError: a threshold is no probability, or both are given.
        RunError: the output exists or cannot be written, or no threshold reaches the accuracy.
        DataError: a row cannot be used, or a submission would lack a row.
    """
    given = {**(settings or {}), **from_flat(flat, call="kerora.predict")}
    target, found = None if output is None else Path(output), io.StringIO()
    options: dict[str, Any] = {"settings": given, "submission": submission, "fill": fill, "batch_size": batch_size}
    options |= {"preset": preset, "force": force, "skipped": skipped}
    returned = target is None and stream is None
    options |= {"form": "jsonl", "stream": found} if returned else {"form": form, "stream": stream}
    options["abstain"] = Abstention(abstain_below, target_accuracy)
    if is_in_memory(source) and not hasattr(source, "read"):
        with written(RunFolder.open(path), source, "input", given) as file:
            count = predict_file(path, file, target, **options)
    else:
        count = predict_file(path, Path(source) if isinstance(source, str | os.PathLike) else source, target, **options)
    return _like(source, [json.loads(line) for line in found.getvalue().splitlines()]) if returned else count


def _like(source: Any, rows: list[dict[str, Any]]) -> Any:
    """Return rows as a frame of the library of `source` if that is a frame."""
    frame = nw.from_native(source, pass_through=True)
    if not isinstance(frame, nw.DataFrame | nw.LazyFrame):
        return rows
    if isinstance(frame, nw.LazyFrame):
        frame = frame.collect()
    columns = {name: [row[name] for row in rows] for name in (rows[0] if rows else ())}
    return nw.from_dict(columns, backend=frame.implementation).to_native()
