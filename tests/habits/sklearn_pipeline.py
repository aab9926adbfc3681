"""A pipeline that cleans texts first, with integer labels that come back as integers."""

import numpy as np
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import kerora

texts = np.array(["My parcel is LATE", "where is my order", "I was charged twice", "the invoice is wrong"] * 6)
labels = np.array([3, 3, 7, 7] * 6)

pipeline = make_pipeline(
    FunctionTransformer(lambda column: np.char.lower(column)),
    kerora.KeroraClassifier(epochs=1, rank=4, max_length=16, validation_fraction=0),
)
pipeline = clone(pipeline).set_params(keroraclassifier__rank=2)
pipeline.fit(texts, labels)
found = pipeline.predict(texts)
assert found.dtype == labels.dtype and set(found) <= {3, 7}
assert np.allclose(pipeline.predict_proba(texts).sum(axis=1), 1)
print("accuracy", pipeline.score(texts, labels), pipeline[-1].history_)
