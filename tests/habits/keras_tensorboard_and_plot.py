"""TensorBoard without TensorFlow, a picture of the model, and a copy of its layers."""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path

import kerora

# isort: split
import keras

TEXTS, LABELS = ["a great film", "a boring story"] * 8, ["good", "bad"] * 8
PRESET = os.environ.get("PRESET", "kerora_mini_en")

model = kerora.TextClassifier.from_preset(PRESET, ["bad", "good"])
model.enable_lora(4)
model.compile()

if importlib.util.find_spec("tensorflow") is None:
    try:
        model.fit(TEXTS, LABELS, callbacks=[keras.callbacks.TensorBoard("logs")], verbose=0)
    except kerora.errors.ConfigError as error:
        print(error)
    else:
        raise AssertionError("this callback writes through TensorFlow")

with tempfile.TemporaryDirectory() as folder:
    result = kerora.fit(
        train=(TEXTS, LABELS), preset=PRESET, epochs=1, max_length=16, log="tensorboard", runs_dir=folder
    )
    assert list((Path(result.run.path) / "logs" / "tensorboard").glob("events.out.*"))

if importlib.util.find_spec("pydot"):
    dot = keras.utils.model_to_dot(model, show_shapes=True)
    assert "TextClassifier" in str(dot) or "token_ids" in str(dot)
    if shutil.which("dot"):
        keras.utils.plot_model(model, "model.png")
        assert Path("model.png").stat().st_size > 1000
