"""Arguments of `model.fit` in `kerora.fit` and `model.fit`: callbacks, weights of classes, parts."""

import os
import tempfile

import pandas
from sklearn.model_selection import train_test_split

import kerora

# isort: split
import keras

texts = pandas.Series(["my parcel is late", "where is my order", "I was charged twice", "the invoice is wrong"] * 8)
labels = pandas.Series(["delivery", "delivery", "billing", "billing"] * 8)
x_train, x_test, y_train, y_test = train_test_split(texts, labels, test_size=0.25, random_state=0)
preset = os.environ.get("PRESET", "kerora_mini_en")

with tempfile.TemporaryDirectory() as folder:
    result = kerora.fit(
        train=(x_train, y_train),
        test=(x_test, y_test),
        validation_split=0.25,
        class_weights="balanced",
        callbacks=keras.callbacks.EarlyStopping(monitor="val_macro_f1", patience=1),
        progress=True,
        preset=preset,
        epochs=2,
        max_length=16,
        runs_dir=folder,
    )
    print(result)
    try:
        kerora.fit(x_train, y_train)
    except kerora.errors.ConfigError as error:
        print(error)
    else:
        raise AssertionError("texts and labels by position")

model = kerora.TextClassifier.from_preset(preset, sorted(set(labels)))
model.enable_lora(4)
model.compile()
model.fit(x_train, y_train, validation_data=(x_test, y_test), class_weight="balanced", verbose=0)
found = model.evaluate(x_test, y_test, return_dict=True, verbose=0)
assert set(found) == {"loss", "accuracy"}
for wrong in ({"metrics": ["precision"]}, {"metrics": [keras.metrics.F1Score()]}):
    try:
        model.compile(**wrong)
    except kerora.errors.ConfigError as error:
        print(error)
    else:
        raise AssertionError(wrong)
