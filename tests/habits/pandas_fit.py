"""A frame of pandas: train, look, predict."""

import tempfile

import pandas

import kerora

texts = ["my parcel is late", "where is my order", "I was charged twice", "the invoice is wrong"] * 6
frame = pandas.DataFrame({"message": texts, "queue": ["delivery", "delivery", "billing", "billing"] * 6})
frame["queue"] = frame["queue"].astype("category")

with tempfile.TemporaryDirectory() as folder:
    result = kerora.fit(
        train=frame.sample(frac=1, random_state=0),
        validation=frame.head(8),
        text="message",
        label="queue",
        epochs=1,
        rank=4,
        max_length=16,
        runs_dir=folder,
    )
    print(result)
    assert set(result.predict(["my parcel is late"])) <= {"delivery", "billing"}
    found = kerora.predict(result.run.path, frame[["message"]])
    assert list(found.columns) == ["id", "label", "score", "p_billing", "p_delivery"] and len(found) == len(frame)
    assert "accuracy" in kerora.evaluate(result.run.path, frame).metrics["test"]
