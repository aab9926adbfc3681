"""Batches of lists and frames, loaders of torch and, where TensorFlow is installed, tf.data."""

import importlib.util
import os

import kerora

# isort: split
import numpy as np
import pandas
import polars
import torch

TEXTS, LABELS = ["a great film", "a boring story"] * 8, ["good", "bad"] * 8
frame = pandas.DataFrame({"text": TEXTS, "label": LABELS}, index=range(100, 116))

model = kerora.TextClassifier.from_preset(os.environ.get("PRESET", "kerora_mini_en"), ["bad", "good"])
model.enable_lora(4)
model.compile()

forms = [
    (TEXTS, LABELS),
    (np.array(TEXTS), np.array(LABELS)),
    (np.array(TEXTS, dtype=object), [1, 0] * 8),
    (frame["text"], frame["label"]),
    (frame[["text"]], frame["label"].astype("category")),
    (polars.from_pandas(frame)["text"], polars.from_pandas(frame)["label"]),
]
losses = [model.evaluate(model.batches(*form, batch_size=4), verbose=0)[0] for form in forms]
losses += [model.evaluate(*form, verbose=0)[0] for form in forms]
assert np.allclose(losses, losses[0], atol=1e-6)

loader = torch.utils.data.DataLoader(list(zip(TEXTS, LABELS, strict=True)), batch_size=4, shuffle=True)
model.fit(loader, verbose=0)
assert model.predict(torch.utils.data.DataLoader(TEXTS, batch_size=4), verbose=0).shape == (16, 2)


def generator():
    while True:
        yield TEXTS[:4], LABELS[:4]


model.fit(generator(), steps_per_epoch=2, verbose=0)
assert np.isfinite(model.train_on_batch(TEXTS[:4], LABELS[:4])).all()
assert model.predict_on_batch(np.array(TEXTS[:4])).shape == (4, 2)

if importlib.util.find_spec("tensorflow"):
    import tensorflow

    data = tensorflow.data.Dataset.from_tensor_slices((TEXTS, [1, 0] * 8)).batch(4)
    model.fit(data, validation_data=data, verbose=0)
