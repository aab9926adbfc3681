"""Confident learning (Northcutt et al. 2021, arXiv:1911.00068): labels that a model contradicts with confidence."""

import numpy as np

# A probability that is equal to its threshold counts, also after rounding.
TOLERANCE = 1e-6


def class_thresholds(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return for each class the mean probability of the class over the rows with its label, (classes,).

    A class without rows has the threshold infinity.

    Args:
        probabilities: out-of-fold probabilities, (rows, classes).
        labels: class numbers, (rows,).
    """
    found = [
        probabilities[labels == number, number].mean() if (labels == number).any() else np.inf
        for number in range(probabilities.shape[1])
    ]
    return np.array(found)


def confident_labels(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the class that each row confidently belongs to, or -1 if there is none, int64 (rows,).

    A class is a candidate if its probability reaches the threshold of the class. Of several candidates, the row belongs
    to the class with the highest probability.
    """
    candidates = probabilities >= class_thresholds(probabilities, labels) - TOLERANCE
    count = candidates.sum(axis=1)
    guess = np.where(count > 1, probabilities.argmax(axis=1), candidates.argmax(axis=1))
    found: np.ndarray = np.where(count > 0, guess, -1)
    return found


def label_issues(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return whether each label is probably wrong, bool (rows,).

    These are the rows off the diagonal of the confident joint: they confidently belong to another class than that of
    their label. A row whose label is also the most probable class is not among them. Same as
    ``find_label_issues(filter_by="confident_learning")`` of the package cleanlab.
    """
    guess = confident_labels(probabilities, labels)
    found: np.ndarray = (guess >= 0) & (guess != labels) & (probabilities.argmax(axis=1) != labels)
    return found


def suspicion(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return how much each label is contradicted, -1 to 1, (rows,).

    It is the highest probability of another class, minus that of the label. Above 0, the model has another answer.
    """
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = -np.inf
    found: np.ndarray = others.max(axis=1) - probabilities[rows, labels]
    return found
