"""A pickle holds the adapter, not the base model."""

import pickle

import numpy as np

import kerora

texts = ["my parcel is late", "where is my order", "I was charged twice", "the invoice is wrong"] * 6
labels = [True, True, False, False] * 6

model = kerora.KeroraClassifier(epochs=1, rank=4, max_length=16, validation_fraction=0).fit(texts, labels)
content = pickle.dumps(model)
again = pickle.loads(content)
assert np.array_equal(again.predict_proba(texts), model.predict_proba(texts))
assert again.predict(texts).dtype == bool
print(len(content) // 1024, "KB")
