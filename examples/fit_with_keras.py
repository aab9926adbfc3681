"""Fine-tune a classifier with plain Keras: compile, fit and callbacks are your own code.

    python examples/fit_with_keras.py --preset kerora_mini_en --data tickets

`--data` has the values of `kerora fit --data`: tickets, a TFDS name, a file, or a folder.
"""

import argparse

import kerora  # comes before keras, because it selects the torch backend

# isort: split
import keras

from kerora.callbacks import ClassificationReport, EarlyStopping, History

SEED = 42


def main() -> None:
    parser = argparse.ArgumentParser(description="Fine-tune a classifier with plain Keras.")
    parser.add_argument("--preset", default="kerora_mini_en")
    parser.add_argument("--data", default="tickets")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    options = parser.parse_args()

    kerora.set_random_seed(SEED)
    dataset = kerora.load_dataset(options.data, seed=SEED)
    model = kerora.TextClassifier.from_preset(options.preset, dataset.classes, max_length=128, seed=SEED)
    print(kerora.enable_lora(model, rank=8, alpha=16, dropout=0.05))

    train = model.batches(dataset["train"], batch_size=32, shuffle=True, seed=SEED)
    validation = model.batches(dataset["validation"], batch_size=64)
    updates = len(train) * options.epochs
    schedule = kerora.WarmupSchedule(options.learning_rate, total=updates, warmup=updates // 10)
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=0.01, global_clipnorm=1.0),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )

    report = ClassificationReport(validation, dataset.classes)
    history = History()
    model.fit(
        train,
        validation_data=validation,
        epochs=options.epochs,
        verbose=2,
        callbacks=[
            report,  # first, because it adds val_macro_f1 to the logs, and the others read it
            EarlyStopping("val_macro_f1", patience=2),
            keras.callbacks.TerminateOnNaN(),
            history,
        ],
    )
    print(report.text)
    best = max(history.rows, key=lambda row: row["val_macro_f1"])
    print(f"best epoch: {best['epoch']}, macro F1 {best['val_macro_f1']:.3f}")


if __name__ == "__main__":
    main()
