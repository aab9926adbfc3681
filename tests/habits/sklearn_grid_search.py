"""A grid search and a cross validation, over one loaded base model."""

from sklearn.model_selection import GridSearchCV, cross_val_score

import kerora

texts = ["my parcel is late", "where is my order", "I was charged twice", "the invoice is wrong"] * 6
labels = ["delivery", "delivery", "billing", "billing"] * 6

model = kerora.KeroraClassifier(epochs=1, max_length=16, validation_fraction=0)
search = GridSearchCV(model, {"rank": [2, 4]}, cv=2)
search.fit(texts, labels)
print(search.best_params_, search.best_score_)
assert search.best_estimator_.get_params()["rank"] in (2, 4)
assert set(search.predict(texts[:3])) <= {"delivery", "billing"}
assert len(cross_val_score(model.set_params(epochs=1, rank=2), texts, labels, cv=2)) == 2
