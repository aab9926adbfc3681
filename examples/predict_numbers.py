"""Fine-tune on texts with numbers, and predict numbers for new texts.

python examples/predict_numbers.py --preset kerora_mini_en
"""

import argparse
import itertools

import kerora  # comes before keras, because it selects the torch backend

PLACES = ("The hotel room", "The flat", "Our cabin", "The guest house")
JUDGEMENTS = {
    "was spotless and quiet.": 5.0,
    "was clean and had all we needed.": 4.2,
    "was fine for one night.": 3.0,
    "smelled a little and was noisy.": 1.8,
    "was dirty, and nobody helped us.": 0.6,
}
NEW = ("The cottage was spotless.", "Our room was dirty and noisy.")


def main() -> None:
    """Fit, print the metrics, predict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="kerora_mini_en")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--run", default="example-numbers")
    options = parser.parse_args()
    pairs = [(f"{place} {text}", stars) for place, (text, stars) in itertools.product(PLACES, JUDGEMENTS.items())]
    texts, stars = zip(*pairs, strict=True)
    result = kerora.fit(
        train={"text": list(texts), "stars": list(stars)},
        label="stars",
        task="regression",
        preset=options.preset,
        epochs=options.epochs,
        batch_size=4,
        validation_split=0.2,
        run=options.run,
        force=True,
    )
    print(result)
    for text, number in zip(NEW, result.predict(list(NEW)), strict=True):
        print(f"{number:.2f}  {text}")
    scale = result.model.scale
    print(f"Mean {scale.mean[0]:.2f} and deviation {scale.deviation[0]:.2f} of the training rows")


if __name__ == "__main__":
    main()
