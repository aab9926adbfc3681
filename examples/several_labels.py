"""Fine-tune on texts with any number of labels, and print the labels of new texts.

python examples/several_labels.py --preset kerora_mini_en
"""

import argparse
import itertools

import kerora  # comes before keras, because it selects the torch backend

OPENINGS = ("Your shop", "Order 4711", "My last order", "The table I bought")
COMPLAINTS = {
    "delivery": "came two weeks late",
    "damage": "arrived with a broken leg",
    "price": "cost more than on the page",
}
NEW = ("The lamp came late and was broken.", "All is well, thank you.")


def rows() -> list[dict[str, object]]:
    """Return texts with every set of complaints, also without any."""
    sets = [names for count in range(3) for names in itertools.combinations(COMPLAINTS, count)]
    return [
        {"text": f"{opening} {' and '.join(map(COMPLAINTS.get, names)) or 'is fine'}.", "labels": list(names)}
        for opening, names in itertools.product(OPENINGS, sets)
    ]


def main() -> None:
    """Fit, print the metrics, predict."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="kerora_mini_en")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--run", default="example-labels")
    options = parser.parse_args()
    # lists of labels: the task multi-label is found
    result = kerora.fit(
        train=rows(),
        label="labels",
        preset=options.preset,
        epochs=options.epochs,
        batch_size=4,
        validation_split=0.25,
        run=options.run,
        force=True,
    )
    print(result)
    for text, labels in zip(NEW, result.predict(list(NEW)), strict=True):
        print(f"{text}  {', '.join(labels) or '-'}")
    for name, threshold in zip(result.model.classes, result.model.thresholds, strict=True):
        print(f"{name}: from probability {threshold:.2f}")


if __name__ == "__main__":
    main()
