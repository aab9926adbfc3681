"""Fine-tune on texts and labels that are Python lists, and predict names for new texts.

python examples/custom_data.py --preset kerora_mini_en
"""

import argparse

import numpy as np

import kerora  # comes before keras, because it selects the torch backend

# isort: split
import keras

MESSAGES = {
    "heating": [
        "The radiator in the bedroom stays cold.",
        "No warm water again this morning.",
        "It is 15 degrees in our flat, please turn the heating on.",
        "The thermostat shows 21 but the rooms are freezing.",
        "Radiators are banging and barely lukewarm.",
        "Is the boiler broken? We have had no heat since Friday.",
    ],
    "noise": [
        "The people above us play music until two.",
        "Somebody drills on Sundays, every Sunday.",
        "Could you ask the neighbours to be quiet after ten?",
        "The dog next door barks all day long.",
        "There is a loud hum from the lift shaft at night.",
        "Parties on the third floor, four nights in a row.",
    ],
    "keys": [
        "I lost my key to the front door.",
        "Can I have a second key for the cellar?",
        "The lock of my letter box is stuck.",
        "We locked ourselves out, who can open?",
        "My key fob no longer opens the garage.",
        "The new tenant needs keys by the first of the month.",
    ],
}
NEW = [
    "It is so cold here that I wear a coat in bed.",
    "My son dropped the keys into a drain.",
    "The bass keeps us awake.",
]


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune on Python lists.")
    parser.add_argument("--preset", default="kerora_mini_en")
    parser.add_argument("--epochs", type=int, default=15)
    options = parser.parse_args()

    kerora.set_random_seed(42)
    classes = list(MESSAGES)
    texts = [text for messages in MESSAGES.values() for text in messages]
    labels = np.array([classes.index(name) for name, messages in MESSAGES.items() for _ in messages])

    model = kerora.TextClassifier.from_preset(options.preset, classes, max_length=64)
    print(kerora.enable_lora(model, rank=8, alpha=16))
    model.compile(
        optimizer=keras.optimizers.AdamW(1e-3, global_clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(model.encode(texts), labels, batch_size=6, epochs=options.epochs, verbose=2)

    for text, label in zip(NEW, model.predict_labels(NEW), strict=True):
        print(f"{label:8} {text}")


if __name__ == "__main__":
    main()
