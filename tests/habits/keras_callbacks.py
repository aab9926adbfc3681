"""The callbacks of Keras beside a model with LoRA."""

import os
from pathlib import Path

import kerora

# isort: split
import keras

TEXTS, LABELS = ["a great film", "a boring story"] * 8, [1, 0] * 8

model = kerora.TextClassifier.from_preset(os.environ.get("PRESET", "kerora_mini_en"), ["bad", "good"])
model.enable_lora(4)
model.compile()
model.fit(
    TEXTS,
    LABELS,
    epochs=3,
    validation_data=(TEXTS, LABELS),
    callbacks=[
        keras.callbacks.CSVLogger("log.csv"),
        keras.callbacks.ReduceLROnPlateau("val_loss", patience=1),
        keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate * 0.9),
        keras.callbacks.EarlyStopping("val_loss", patience=2, restore_best_weights=True),
        keras.callbacks.TerminateOnNaN(),
    ],
    verbose=0,
)
assert Path("log.csv").read_text().startswith("epoch,accuracy,")
model.summary(print_fn=lambda *lines, **options: None)

model.compile(keras.optimizers.AdamW(kerora.WarmupSchedule(1e-3, total=10)))
try:
    model.fit(TEXTS, LABELS, callbacks=[keras.callbacks.ReduceLROnPlateau("loss")], verbose=0)
except kerora.errors.ConfigError as error:
    print(error)
else:
    raise AssertionError("a schedule and ReduceLROnPlateau exclude each other")
