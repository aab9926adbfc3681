"""A training loop of one's own in torch, then a run folder with report, prediction and export."""

import os
import subprocess
import sys
from pathlib import Path

import kerora

# isort: split
import numpy as np
import torch

TEXTS, LABELS = ["a great film", "a boring story", "good", "bad plot"] * 4, ["good", "bad"] * 8

model = kerora.TextClassifier.from_preset(os.environ.get("PRESET", "kerora_mini_en"), ["bad", "good"])
model.enable_lora(4)
weights = [variable.value for variable in model.trainable_weights]
optimizer = torch.optim.AdamW(weights, lr=1e-3)
for inputs, labels in (model.batches(TEXTS, LABELS, batch_size=8)[index] for index in (0, 1)):
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(inputs, training=True), torch.as_tensor(labels))
    loss.backward()
    optimizer.step()

run = kerora.save_run(
    model,
    "runs/mine",
    dataset={"train": (TEXTS, LABELS), "test": (TEXTS[:6], LABELS[:6])},
    history={"loss": [float(loss)]},
)
assert np.array_equal(kerora.load(run.path).predict(TEXTS, verbose=0), model.predict(TEXTS, verbose=0))

with open("new.csv", "w", encoding="utf-8") as file:
    file.write("text\na great film\n")
kerora.predict(run.path, Path("new.csv"), Path("labels.csv"))
assert kerora.evaluate(run.path).metrics["test"]["accuracy"] >= 0
kerora.export(run.path, "keras", "exported")
subprocess.run([sys.executable, "-m", "kerora", "report", "runs/mine"], check=True, stdout=subprocess.DEVNULL)
