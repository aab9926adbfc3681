"""Texts and labels go straight into compile, fit, evaluate and predict."""

import os

import kerora

# isort: split
import keras
import numpy as np
import torch

TEXTS = ["a great film", "a boring story", "good acting and a great ending", "bad", "love it", "hate the plot"] * 4
LABELS = [1, 0, 1, 0, 1, 0] * 4

keras.utils.set_random_seed(1)
model = kerora.TextClassifier.from_preset(os.environ.get("PRESET", "kerora_mini_en"), ["bad", "good"])
print(model.enable_lora(4, targets="query,value"))
model.compile()

history = model.fit(TEXTS, LABELS, epochs=2, batch_size=8, validation_split=0.25, verbose=0)
assert set(history.history) == {"loss", "accuracy", "val_loss", "val_accuracy"}

names = np.array(["good", "bad"] * 12)
model.fit(np.array(TEXTS), names, sample_weight=np.ones(24), validation_data=(TEXTS[:4], LABELS[:4]), verbose=0)
model.fit(TEXTS, names, class_weight={"good": 1.0, "bad": 2.0}, verbose=0)
pairs = (TEXTS, TEXTS[::-1])
model.fit(pairs, LABELS, verbose=0)

loss, accuracy = model.evaluate(TEXTS, LABELS, verbose=0)
assert 0 <= accuracy <= 1 and loss > 0

logits = model.predict(TEXTS, verbose=0)
assert logits.shape == (24, 2)
assert np.allclose(logits, model.predict(model.encode(TEXTS), verbose=0), atol=1e-5), "in the order of the texts"
assert model.predict("one text", verbose=0).shape == (1, 2)

rows = list(zip(TEXTS, LABELS, strict=True))
loader = torch.utils.data.DataLoader(rows, batch_size=8)
model.fit(loader, validation_data=loader, shuffle=False, verbose=0)

batches = model.batches(TEXTS, LABELS, batch_size=8, shuffle=True)
model.fit(batches, verbose=0)

try:
    model.fit(TEXTS, ["great"] * 24)
except kerora.errors.DataError as error:
    print(error)
else:
    raise AssertionError("an unknown class must be refused")
