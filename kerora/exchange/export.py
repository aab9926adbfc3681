"""Exports runs for other tools. Before an export is kept, it is loaded again and compared with the run."""

import contextlib
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kerora.errors import ConfigError, PresetError, RunError, reason_of
from kerora.exchange.huggingface_folder import check_huggingface, write_huggingface_folder
from kerora.exchange.keras_task import load_plain, write_keras_task
from kerora.exchange.merge import bake, merged_model, plain_copy, shares_of, without_quantisation
from kerora.exchange.model_card import model_card
from kerora.exchange.onnx_file import check_onnx, onnx_agreement, onnx_logits, onnx_session, write_onnx
from kerora.exchange.verify import (
    Verification,
    peft_logits,
    transformers_agreement,
    transformers_logits,
    version_of,
)
from kerora.guards.leftovers import beside
from kerora.lora.files import load_adapter, save_adapter
from kerora.lora.inject import lora_layers
from kerora.models.chat_files import TEMPLATE_FILE
from kerora.models.keras_presets import EXACT_FILE, LABELS_FILE
from kerora.models.task import TaskModel
from kerora.runfolder import PRIVATE, RunFolder, read_json, write_json, write_text
from kerora.runs.open import load, read_config
from kerora.settings.fit import FitConfig
from kerora.tasks.probe import Probe
from kerora.tasks.registry import Task, task_of_model

FORMATS = ("peft", "keras", "transformers", "onnx", "kerora")
MERGED_FORMATS = ("keras", "transformers", "onnx")
TOLERANCE = 1e-3
TANH_TOLERANCE = 0.05
"""Tolerance for a Keras preset of a model with exact GELU: plain KerasHub computes its tanh approximation."""
SHARED = ("config.yaml", "run.json", "history.csv", "metrics.json", "adapter")
"""Files of a run in an export. Checkpoints are left out, and predictions too, because they hold texts."""
"""Entries of run.json that an export does not have."""


@dataclass(frozen=True)
class Job:
    """The work of one export.

    Attributes:
        runs: the run folders.
        model: the model of the run. For merged formats, the merged model.
        reference: the logits of the run, as `Probe.logits` returns them.
        probe: the rows to compare on.
        config: settings of the first run.
        note: a note about the export. May be empty.
        shares: the weight of each run in a merge of several. None for one run without weights.
    """

    runs: Sequence[RunFolder]
    model: TaskModel
    reference: np.ndarray
    probe: Probe
    config: FitConfig
    note: str = ""
    shares: Sequence[float] | None = None

    def verification(self, tool: str, logits: np.ndarray, tolerance: float = TOLERANCE, **more: Any) -> Verification:
        """Compare logits with those of the run."""
        more["note"] = "; ".join(filter(None, (self.note, more.get("note", ""), self._long_note(tool))))
        difference, agreement = self.task.exchange.compare(logits, self.reference)
        tokens = len(self.reference) if self.probe.per_token else None
        rows, source = len(self.probe.rows), self.probe.source
        names = self.task.exchange.NAMES
        words: dict[str, Any] = {
            "compared": names.compared,
            "text_compared": names.text_compared,
            "measured": names.difference,
        }
        return Verification(tool, rows, source, difference, agreement, tolerance, tokens, **words, **more)

    def _long_note(self, tool: str) -> str:
        way = self.model.long_texts.long
        return "" if way == "cut-end" or tool == "kerora" else f"Other tools cut long texts, the run has --long {way}"

    @property
    def task(self) -> Task:
        """The task of the runs."""
        return task_of_model(self.model)

    def unverified(self, package: str) -> Verification:
        """Return a verification that says that the package is not installed."""
        note = f"{package} is not installed (pip install transformers peft)"
        return Verification(None, 0, self.probe.source, None, None, TOLERANCE, note=note)


def export_run(run: str | Path, form: str, output: str | Path, preset: str | Path | None = None) -> Verification:
    """Export a run and verify the export. If anything fails, nothing is written.

    Args:
        run: the run folder.
        form: ``peft``, ``keras``, ``transformers``, ``onnx`` or ``kerora``.
        output: folder to write. It must be new or empty.
        preset: path or name of the base model, if it moved since the run was made.

    Raises:
        RunError: the run is not finished, the output exists or cannot be written, or the export differs from the run.
        PresetError: the format does not support this kind of model.
        ConfigError: the format is unknown, or a package that the format needs is missing.
    """
    if form not in FORMATS:
        raise ConfigError(f"Unknown format {form!r}. Formats are {', '.join(FORMATS)}.")
    target = check_free(output)
    folder = RunFolder.open(run)
    config = read_config(folder)
    # float32, because the rounding of bfloat16 is larger than the tolerance of the comparison
    model = load(run, preset, dtype="float32")
    _check_format(form, model, config)
    exchange = task_of_model(model).exchange
    probe = exchange.probe(model, config)
    reference = exchange.logits(model, probe)
    note = ""
    if form in MERGED_FORMATS:
        # integer kernels cannot take an update, so the merge needs a float copy of them
        model, note = without_quantisation(run, model)
        # the reference is computed already, because this changes the model in place
        bake(model)
    elif form == "peft" and config.model.quantize:
        # PEFT adds the adapter to the base in float, so the reference must be computed there too
        model = _unquantised(model, run)
        reference = exchange.logits(model, probe)
        note = "Compared on the unquantised base"
    return _write(form, Job([folder], model, reference, probe, config, note), target)


def merge_runs(
    runs: Sequence[str | Path],
    output: str | Path,
    form: str = "keras",
    weights: Sequence[float] | None = None,
    preset: str | Path | None = None,
) -> Verification:
    """Merge a run, or the weighted sum of several runs, into a plain model. Write its folder and verify it.

    Args:
        runs: run folders with the same base model. All have the same classes, or all are language models.
        output: folder to write. It must be new or empty.
        form: ``keras``, ``transformers`` or ``onnx``. Default: ``keras``.
        weights: a number for each run. None gives each run the same share of 1.
        preset: path or name of the base model, if it moved since the runs were made.

    Raises:
        KeroraError: see `export_run` and `kerora.exchange.merge.merged_model`.
    """
    if form not in MERGED_FORMATS:
        raise ConfigError(f"Unknown format {form!r}. Formats of a merged model are {', '.join(MERGED_FORMATS)}.")
    # one run has outputs of its own to compare with, a sum of runs has not
    if len(runs) == 1 and weights is None:
        return export_run(runs[0], form, output, preset)
    target = check_free(output)
    folders = [RunFolder.open(run) for run in runs]
    config = read_config(folders[0])
    shares = shares_of(runs, weights)
    model = merged_model(runs, shares, preset)
    _check_format(form, model, config)
    exchange = task_of_model(model).exchange
    probe = exchange.probe(model, config)
    # the merged model is the reference, because no run has the outputs of the sum
    return _write(form, Job(folders, model, exchange.logits(model, probe), probe, config, shares=shares), target)


def _write(form: str, job: Job, target: Path) -> Verification:
    with staged(target) as work:
        verification = WRITERS[form](job, work)
        if verification.tool is not None:
            # inside the block: an error removes the temporary folder, so a wrong export is never left
            _check(verification)
        if (chat := job.model.tokenizer.chat) is not None and not (work / "adapter").is_dir():
            # takes precedence over the template in tokenizer_config.json, there and here
            write_text(work / TEMPLATE_FILE, chat.source)
        write_json(work / "verification.json", {"format": form, **verification.to_dict()})
        write_text(work / "README.md", model_card(form, job.runs, job.shares, job.model, verification))
    return verification


def _check(found: Verification) -> None:
    assert found.largest_difference is not None and found.agreement is not None
    # written so that NaN fails too: NaN <= x is False
    # agreement: two of 32 rows may change their label, as can happen when two logits are nearly equal
    if not found.largest_difference <= found.tolerance or found.agreement < 1 - 1 / 16:
        raise RunError(
            f"The export differs from the run when {found.tool} loads it: {found.measured} "
            f"{found.largest_difference:.2g} (at most {found.tolerance:g}), {found.compared} {found.agreement:.0%}. "
            "Nothing was written. Choose another format."
        )


def _peft(job: Job, work: Path) -> Verification:
    # the reference is computed already
    job.model.fold_scale()
    save_adapter(job.model, work, dtype=job.config.lora.adapter_dtype)
    _write_labels(job, work)
    if version_of("peft") is None or version_of("transformers") is None:
        return job.unverified("peft")
    preset = job.model.preset
    with contextlib.ExitStack() as stack:
        base = preset.directory
        # transformers cannot load a Keras preset, so the base is written to a temporary folder for the comparison
        if preset.source != "huggingface":
            base = stack.enter_context(staged(work / "base", keep=False))
            write_huggingface_folder(plain_copy(job.model), base)
        # the head is in PEFT's file, but transformers must build one of its size first
        classes = len(job.task.exchange.classes(job.model))
        logits = peft_logits(base, work, job.task.exchange.NAMES.auto_class, classes, job.probe)
    note = "" if preset.source == "huggingface" else "PEFT needs the base model in transformers' format"
    return job.verification(str(version_of("peft")), logits, note=note)


def _kerora(job: Job, work: Path) -> Verification:
    run = job.runs[0].path
    for name in SHARED:
        if (run / name).is_dir():
            shutil.copytree(run / name, work / name)
        elif (run / name).is_file():
            shutil.copyfile(run / name, work / name)
    # exports are shared: no command line, no folder of this machine
    manifest = {key: value for key, value in read_json(work / "run.json").items() if key not in PRIVATE}
    manifest["preset"] = {key: value for key, value in manifest.get("preset", {}).items() if key != "directory"}
    write_json(work / "run.json", manifest)
    again = load(work, str(job.model.preset.directory), dtype="float32")
    return job.verification("kerora", job.task.exchange.logits(again, job.probe))


def _keras(job: Job, work: Path) -> Verification:
    write_keras_task(job.model, work)
    plain = load_plain(work, job.model)
    logits = job.probe.logits(plain)
    note, tolerance = "", TOLERANCE
    # Two comparisons: Kerora must give the logits of the run. Plain KerasHub may differ by its GELU only.
    if (work / EXACT_FILE).is_file():
        exact, _ = job.task.exchange.compare(_logits_again(job, work), job.reference)
        # not `>`, which is false for NaN
        if not exact <= TOLERANCE:
            raise RunError(f"The export differs from the run by {exact:.2g} when Kerora loads it. Nothing was written.")
        if (
            job.task.exchange.compare(logits, job.reference)[0] > TOLERANCE
            and read_json(work / EXACT_FILE)["activation"] == "gelu"
        ):
            note = f"KerasHub computes the tanh approximation of GELU. Kerora computes GELU exactly, {exact:.1e}"
            tolerance = TANH_TOLERANCE
    # the preprocessors of KerasHub have no setting for the side
    if job.model.truncate == "left":
        note = "; ".join(filter(None, (note, "KerasHub cuts long texts on the right, the run cuts on the left")))
    with_pairs = job.probe.rows.pairs is not None
    agreement = job.task.exchange.keras_agreement
    # `keras_agreement` gives single texts to the preset, so pairs are compared by their token ids alone
    own = None if with_pairs else agreement(plain, work, job.probe, job.reference, job.model)
    return job.verification(str(version_of("keras-hub")), logits, tolerance, text_agreement=own, note=note)


def _logits_again(job: Job, directory: Path) -> np.ndarray:
    """Load an exported Keras preset with Kerora and return its logits."""
    again = job.task.models.of_folder(directory, job.model)
    return job.task.exchange.logits(again, job.probe)


def _transformers(job: Job, work: Path) -> Verification:
    write_huggingface_folder(job.model, work)
    _write_labels(job, work)
    if version_of("transformers") is None:
        return job.unverified("transformers")
    logits = transformers_logits(work, job.task.exchange.NAMES.auto_class, job.probe)
    own = transformers_agreement(work, job.task, job.probe, job.reference, job.model.max_length)
    return job.verification(str(version_of("transformers")), logits, text_agreement=own)


def _onnx(job: Job, work: Path) -> Verification:
    write_onnx(job.model, work)
    exchange = job.task.exchange
    if labels := exchange.labels(job.model):
        write_json(work / LABELS_FILE, labels)
    session = onnx_session(work)
    own = onnx_agreement(session, work, job.task, job.probe, job.reference)
    logits = onnx_logits(session, job.probe)
    return job.verification(str(version_of("onnxruntime")), logits, text_agreement=own, note=exchange.ONNX_NOTE)


def _write_labels(job: Job, work: Path) -> None:
    """Write labels.json if it holds more than names, such as thresholds: the format itself has no room for them."""
    labels = job.task.exchange.labels(job.model)
    if labels.keys() - {"classes"}:
        write_json(work / LABELS_FILE, labels)


WRITERS: dict[str, Callable[[Job, Path], Verification]] = {
    "peft": _peft,
    "keras": _keras,
    "transformers": _transformers,
    "onnx": _onnx,
    "kerora": _kerora,
}


def _check_format(form: str, model: TaskModel, config: FitConfig) -> None:
    """Refuse a model that the format does not support, before any work is done."""
    if form == "onnx":
        check_onnx()
    elif form == "peft" and not lora_layers(model):
        raise PresetError(
            "The run did not train LoRA, so there is no adapter for PEFT. Export with --format transformers."
        )
    if form in ("peft", "transformers"):
        check_huggingface(model, config.lora.method)


def _unquantised(model: TaskModel, run: str | Path) -> TaskModel:
    plain = plain_copy(model)
    load_adapter(plain, run)
    return plain


def check_free(output: str | Path) -> Path:
    """Return the path of an export target, or raise RunError if it is a file or a folder with content."""
    target = Path(output)
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        raise RunError(f"The export target {target} exists. Choose another --output.")
    return target


@contextlib.contextmanager
def staged(target: Path, keep: bool = True) -> Iterator[Path]:
    """Yield a temporary folder next to `target`. If the block succeeds, it is renamed to `target`."""
    work = beside(target)
    try:
        work.mkdir(parents=True)
        yield work
        if keep:
            if target.is_dir():
                target.rmdir()  # a rename replaces an empty folder on Unix, but not on Windows
            work.rename(target)
    except (OSError, RunError) as error:
        # functions that write files turn an OSError into a RunError: the cause decides which message is right
        cause = error if isinstance(error, OSError) else error.__cause__
        if not isinstance(cause, OSError):
            raise
        raise RunError(f"Cannot write {target}: {reason_of(cause)}. Free space or choose another --output.") from cause
    finally:
        shutil.rmtree(work, ignore_errors=True)
