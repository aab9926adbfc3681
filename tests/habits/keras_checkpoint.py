"""Checkpoints of Keras during a training with LoRA, and their return after a crash."""

import os

import kerora

# isort: split
import keras
import numpy as np

TEXTS, LABELS = ["a great film", "a boring story"] * 8, [1, 0] * 8
PRESET = os.environ.get("PRESET", "kerora_mini_en")


def new_model() -> kerora.TextClassifier:
    model = kerora.TextClassifier.from_preset(PRESET, ["bad", "good"])
    model.enable_lora(4)
    model.compile()
    return model


class Crash(keras.callbacks.Callback):
    """Ends the training in its second epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 1:
            raise KeyboardInterrupt


model = new_model()
weights = keras.callbacks.ModelCheckpoint("best.weights.h5", save_weights_only=True)
whole = keras.callbacks.ModelCheckpoint("epoch-{epoch}.keras")
backup = keras.callbacks.BackupAndRestore("backup")
try:
    model.fit(TEXTS, LABELS, epochs=2, callbacks=[weights, whole, backup, Crash()], verbose=0)
except KeyboardInterrupt:
    pass
expected = model.predict(TEXTS, verbose=0)

fresh = new_model()
fresh.load_weights("best.weights.h5")
assert np.array_equal(fresh.predict(TEXTS, verbose=0), expected)

loaded = keras.saving.load_model("epoch-1.keras")
assert np.array_equal(loaded.predict(TEXTS, verbose=0), expected)

resumed = new_model()
history = resumed.fit(TEXTS, LABELS, epochs=2, callbacks=[keras.callbacks.BackupAndRestore("backup")], verbose=0)
assert history.epoch == [1], "the first epoch is not trained again"

plain = kerora.TextClassifier.from_preset(PRESET, ["bad", "good"])
try:
    plain.load_weights("best.weights.h5")
except kerora.errors.AdapterError as error:
    print(error)
else:
    raise AssertionError("LoRA weights must not be lost in silence")
