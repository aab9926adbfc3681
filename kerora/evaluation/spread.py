"""Chooses rows that differ from one another: one from each of as many clusters as rows are wanted."""

import numpy as np

from kerora.evaluation.neighbours import unit

ROUNDS = 10


def spread(vectors: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Return the places of rows that are spread over the vectors, int64 (count,), in ascending order.

    Spherical k-means divides the rows into `count` clusters, and the first row of each cluster is taken. So the rows
    are given in the order of their usefulness.

    Args:
        vectors: (rows, width), the most useful row first.
        count: number of rows to choose.
        seed: seed of the first centres (k-means++, Arthur and Vassilvitskii 2007).
    """
    if count >= len(vectors):
        return np.arange(len(vectors))
    vectors = unit(vectors)
    centres = vectors[_first_centres(vectors, count, np.random.default_rng(seed))]
    cluster = np.zeros(len(vectors), np.int64)
    for _ in range(ROUNDS):
        cluster = (vectors @ centres.T).argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, cluster, vectors)
        filled = np.bincount(cluster, minlength=count) > 0
        centres = np.where(filled[:, None], unit(sums), centres)
    _, chosen = np.unique(cluster, return_index=True)
    # Of a cluster that became empty, the next most useful row is taken.
    others = np.setdiff1d(np.arange(len(vectors)), chosen)[: count - len(chosen)]
    return np.sort(np.concatenate([chosen, others]))


def _first_centres(vectors: np.ndarray, count: int, generator: np.random.Generator) -> list[int]:
    places = [0]
    distance = 1 - vectors @ vectors[0]
    while len(places) < count:
        weights = np.maximum(distance, 0)
        weights[places] = 0
        total = weights.sum()
        # Rows that are all alike have no distances to choose by.
        chances = weights / total if total > 0 else None
        place = int(generator.choice(len(vectors), p=chances))
        if total <= 0:
            place = next(number for number in range(len(vectors)) if number not in places)
        places.append(place)
        distance = np.minimum(distance, 1 - vectors @ vectors[place])
    return places
