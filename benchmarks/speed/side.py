"""Process of one measurement: ``python -m benchmarks.speed.side NAME JOB`` prints figures as one line of JSON."""

import importlib
import json
import sys

from benchmarks.speed.work import Job
from kerora.fast.lean_import import import_keras_lean

SIDES = {
    "train-kerora": "kerora_side:train",
    "train-peft-defaults": "peft_side:train_defaults",
    "train-peft-best": "peft_side:train_best",
    "train-kerashub": "kerashub_side:train",
    "predict-kerora": "kerora_side:predict",
    "predict-pipeline-float32": "peft_side:predict_float32",
    "predict-pipeline-bfloat16": "peft_side:predict_bfloat16",
    "step-kerora": "step_side:step",
    "tokenize-kerora": "tokenize_side:kerora",
    "tokenize-rust": "tokenize_side:rust",
    "rows-kerora": "kerora_side:many_rows",
}
"""The function of each measurement, inside `benchmarks.speed.sides`."""


def main() -> None:
    """Do the work of one side."""
    name, job = sys.argv[1], Job(**json.loads(sys.argv[2]))
    module, _, function = SIDES[name].partition(":")
    if module == "kerora_side":
        import_keras_lean()  # as Kerora's own commands do
    try:
        work = getattr(importlib.import_module(f"benchmarks.speed.sides.{module}"), function)
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is not installed")
    print(json.dumps(work(job)))


if __name__ == "__main__":
    main()
