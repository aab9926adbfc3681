"""Save a model as a .keras file, load it elsewhere, and copy it."""

import os
import subprocess
import sys

import kerora

# isort: split
import copy
import pickle

import numpy as np

TEXTS, LABELS = ["a great film", "a boring story"] * 4, [1, 0] * 4

model = kerora.TextClassifier.from_preset(os.environ.get("PRESET", "kerora_mini_en"), ["bad", "good"])
model.enable_lora(4)
model.compile()
model.fit(TEXTS, LABELS, verbose=0)
np.save("expected.npy", model.predict(TEXTS, verbose=0))

model.save("small.keras")
model.save("whole.keras", include_base=True)
assert os.path.getsize("small.keras") < os.path.getsize("whole.keras")

LOAD = """
import kerora, keras, numpy as np, sys
texts = ["a great film", "a boring story"] * 4
for name in sys.argv[1:]:
    model = keras.saving.load_model(name)
    assert np.array_equal(model.predict(texts, verbose=0), np.load("expected.npy"))
assert model.predict_labels(["a great film"])[0] in ("bad", "good")
model.fit(texts, [1, 0] * 4, verbose=0)
"""
subprocess.run([sys.executable, "-c", LOAD, "small.keras", "whole.keras"], check=True)

expected = np.load("expected.npy")
for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
    assert type(other) is kerora.TextClassifier
    assert np.array_equal(other.predict(TEXTS, verbose=0), expected)
rebuilt = kerora.TextClassifier.from_config(model.get_config())
assert rebuilt.classes == ("bad", "good") and len(rebuilt.trainable_weights) == len(model.trainable_weights)
