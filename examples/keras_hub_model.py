"""Put Kerora's LoRA on a plain KerasHub model, train it, save the adapter and load it again.

    python examples/keras_hub_model.py --preset kerora_mini_en

`--preset` has the values of `kerora fit --preset`: Kerora finds the folder, and KerasHub opens it. The `fit` and
`predict` of a KerasHub task add their own tf.data pipeline before the model. `keras.Model(task.inputs,
task.outputs)` has the same layers without the pipeline. It accepts arrays, a PyDataset or a torch DataLoader.
"""

import argparse
import tempfile

import numpy as np

import kerora  # comes before keras, because it selects the torch backend

# isort: split
import keras
import keras_hub

from kerora.models.presets import find_preset

TEXTS = [
    *("what a wonderful film", "the best story of the year", "great actors, I love it", "really good, watch it"),
    *("boring from start to end", "the worst plot ever", "a terrible waste of time", "awful, I hate it"),
]
LABELS = np.array([1, 1, 1, 1, 0, 0, 0, 0])


def open_classifier(preset: str) -> keras_hub.models.TextClassifier:
    """Build a KerasHub classifier that pads to 32 tokens. The default of KerasHub is 512."""
    folder = str(find_preset(preset).directory)
    preprocessor = keras_hub.models.TextClassifierPreprocessor.from_preset(folder, sequence_length=32)
    return keras_hub.models.TextClassifier.from_preset(folder, num_classes=2, preprocessor=preprocessor)


def main() -> None:
    parser = argparse.ArgumentParser(description="LoRA on a plain KerasHub model.")
    parser.add_argument("--preset", default="kerora_mini_en")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--adapter", help="Folder for the adapter; a temporary one by default.")
    options = parser.parse_args()

    kerora.set_random_seed(42)
    task = open_classifier(options.preset)
    print(kerora.enable_lora(task, rank=8, alpha=16, targets=("query", "value")))
    inputs = {name: keras.ops.convert_to_numpy(value) for name, value in task.preprocessor(TEXTS).items()}

    model = keras.Model(task.inputs, task.outputs)
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-3, global_clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(inputs, LABELS, batch_size=4, epochs=options.epochs, verbose=2)

    folder = options.adapter or tempfile.mkdtemp(prefix="adapter-")
    kerora.save_adapter(task, folder)
    fresh = open_classifier(options.preset)
    kerora.load_adapter(fresh, folder)
    again = keras.Model(fresh.inputs, fresh.outputs)
    difference = np.abs(model.predict(inputs, verbose=0) - again.predict(inputs, verbose=0)).max()
    print(f"adapter: {folder}")
    print(f"largest difference of the logits after loading: {difference}")


if __name__ == "__main__":
    main()
