"""The names of metrics with their directions: whether a lower or a higher value is better.

Early stopping, checkpoints, searches and reports all look here. Keras' own metrics are listed too, for callbacks in
anyone's script.
"""

import re

LOWER_IS_BETTER = frozenset(
    {
        *("loss", "error", "ece", "perplexity", "bits_per_byte"),
        # names in Keras, and their short forms
        *("mae", "mse", "rmse", "mape", "msle", "logcosh", "crossentropy", "hinge", "squared_hinge", "kl_divergence"),
        *("poisson", "log_loss", "brier_score"),
    }
)
HIGHER_IS_BETTER = frozenset(
    {
        *("accuracy", "acc", "precision", "recall", "f1", "mcc", "roc_auc", "auc", "pr_auc", "map", "f1_at_half"),
        *("r2", "pearson", "spearman"),
        *("f1_score", "fbeta_score", "r2_score", "iou", "mean_io_u", "cosine_similarity", "bleu", "rouge"),
        *("precision_at_recall", "recall_at_precision", "sensitivity_at_specificity", "specificity_at_sensitivity"),
    }
)


def is_lower_better(name: str) -> bool | None:
    """Tell whether a lower value of a metric is better, or return None if the metric is unknown.

    A name may have a prefix, such as ``val_``, ``macro_`` or the name of an output, and the number that Keras adds to
    a name that occurs twice: ``val_macro_f1``, ``val_auc_1``. The longest known ending of the name decides.
    """
    # without the number that Keras adds to a second metric of the same name
    words = re.sub(r"_\d+$", "", name.lower()).split("_")
    # the longest ending first: kl_divergence is known as a whole, but divergence is not
    endings = ("_".join(words[start:]) for start in range(len(words)))
    found = next((ending for ending in endings if ending in LOWER_IS_BETTER | HIGHER_IS_BETTER), None)
    return None if found is None else found in LOWER_IS_BETTER
