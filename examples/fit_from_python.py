"""Run `kerora fit` from Python, and read the result.

python examples/fit_from_python.py --preset kerora_mini_en --data tickets
"""

import argparse

import kerora
from kerora.callbacks import Progress
from kerora.config import DataConfig, FitConfig, LoraConfig, ModelConfig, TrainingConfig


def main() -> None:
    parser = argparse.ArgumentParser(description="Run `kerora fit` from Python.")
    parser.add_argument("--preset", default="kerora_mini_en")
    parser.add_argument("--data", default="tickets")
    parser.add_argument("--runs-dir", default="runs")
    parser.add_argument("--epochs", type=int, default=3)
    options = parser.parse_args()

    config = FitConfig(
        runs_dir=options.runs_dir,
        data=DataConfig(source=options.data),
        model=ModelConfig(preset=options.preset, max_length=128),
        lora=LoraConfig(rank=8, alpha=16, dropout=0.05),
        training=TrainingConfig(epochs=options.epochs, seed=42),
    )
    result = kerora.fit(config, progress=Progress())

    print(result.parameters)
    for row in result.history:
        print(f"epoch {row['epoch']}: loss {row['loss']:.4f}, validation macro F1 {row['val_macro_f1']:.4f}")
    before, after = (result.metrics[part]["validation"]["accuracy"] for part in ("before", "after"))
    print(f"validation accuracy: {before:.3f} before, {after:.3f} after, {result.seconds:.0f} s of training")
    print(f"run: {result.run.path}")

    model = kerora.load(result.run.path)
    text = "my parcel is late again"
    logits = model.predict(model.encode([text]), verbose=0)
    print(f"{text!r}: {model.classes[int(logits[0].argmax())]}")


if __name__ == "__main__":
    main()
