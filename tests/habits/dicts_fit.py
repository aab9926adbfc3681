"""Plain lists and dicts, with a Keras callback."""

import tempfile

import kerora

texts = ["my parcel is late", "where is my order", "I was charged twice", "the invoice is wrong"] * 6
labels = ["delivery", "delivery", "billing", "billing"] * 6
import keras  # noqa: E402  (after kerora, which selects the backend)

seen = []
callback = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: seen.append(logs["val_accuracy"]))
settings = {"epochs": 1, "rank": 4, "max_length": 16, "validation_split": 0.25}
with tempfile.TemporaryDirectory() as folder:
    first = kerora.fit(train=(texts, labels), callbacks=[callback], runs_dir=folder, **settings)
    records = [{"text": text, "label": label} for text, label in zip(texts, labels, strict=True)]
    second = kerora.fit(train=records, runs_dir=folder, **settings)
    third = kerora.fit(train={"text": texts, "label": labels}, runs_dir=folder, **settings)
    assert len(seen) == 1 and first.metrics == second.metrics == third.metrics
    print(kerora.predict(first.run.path, ["where is it?"]))
    print(first.report().page)
