"""A lazy frame of polars, with columns under their usual names."""

import tempfile

import polars

import kerora

frame = polars.DataFrame(
    {
        "text": ["my parcel is late", "where is my order", "I was charged twice", "the invoice is wrong"] * 6,
        "label": [0, 0, 1, 1] * 6,
    }
)
with tempfile.TemporaryDirectory() as folder:
    result = kerora.fit(
        train=frame.lazy(), validation_split=0.25, epochs=1, preset="kerora_mini_en", max_length=16, runs_dir=folder
    )
    print(result)
    assert result.predict_proba(["my parcel is late", "a refund, please"]).shape == (2, 2)
    assert isinstance(kerora.predict(result.run.path, frame.head(3)), polars.DataFrame)
