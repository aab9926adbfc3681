"""A data set of Hugging Face with named classes: train, tune, predict."""

import os
import tempfile

import datasets

import kerora

texts = ["my parcel is late", "where is my order", "I was charged twice", "the invoice is wrong"] * 8
features = datasets.Features(
    {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["delivery", "billing"])}
)
rows = datasets.Dataset.from_dict({"text": texts, "label": [0, 0, 1, 1] * 8}, features=features)
parts = rows.shuffle(seed=1).train_test_split(test_size=0.25, seed=1)

with tempfile.TemporaryDirectory() as folder:
    small = {"preset": os.environ.get("PRESET", "kerora_mini_en"), "epochs": 1, "max_length": 16}
    result = kerora.fit(data=parts, rank=4, runs_dir=folder, **small)
    assert result.model.classes == ("delivery", "billing"), "in the order of ClassLabel"
    assert "test" in result.metrics["after"]
    found = kerora.tune(parts, trials=2, space={"rank": [2, 4]}, studies_dir=folder, **small)
    print(found)
    assert len(found.records) == 2
    predicted = kerora.predict(result.run.path, parts["test"])
    assert len(predicted) == 8 and set(predicted[0]) == {"id", "label", "score", "p_delivery", "p_billing"}
