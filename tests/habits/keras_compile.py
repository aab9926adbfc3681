"""Losses by name: Keras reads the outputs as probabilities, but they are logits."""

import os
import warnings

import kerora

# isort: split
import keras

TEXTS, LABELS = ["a great film", "a boring story"] * 6, [1, 0] * 6

model = kerora.TextClassifier.from_preset(os.environ.get("PRESET", "kerora_mini_en"), num_classes=2)
model.enable_lora(4)
model.compile()
expected = model.evaluate(TEXTS, LABELS, verbose=0)

for loss in ("sparse_categorical_crossentropy", keras.losses.SparseCategoricalCrossentropy()):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.compile("adam", loss, metrics=["sparse_categorical_accuracy"])
    assert "from_logits=True" in str(caught[0].message)
    assert model.evaluate(TEXTS, LABELS, verbose=0) == expected

for wrong in ({"loss": "binary_crossentropy"}, {"jit_compile": True}):
    try:
        model.compile(**wrong)
    except kerora.errors.ConfigError as error:
        print(error)
    else:
        raise AssertionError(wrong)
