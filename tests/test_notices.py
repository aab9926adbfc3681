"""A notice points to the line of the user's script."""

import warnings
from pathlib import Path

from kerora.models.classifier import TextClassifier
from kerora.notices import Notice


def test_a_notice_names_the_line_that_called_kerora(tiny_preset: Path) -> None:
    model = TextClassifier.from_preset(str(tiny_preset), ["1", "0"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", Notice)
        model.compile(loss="sparse_categorical_crossentropy")
        model.fit(["a", "b"], [0, 1], verbose=0)
    found = [item for item in caught if item.category is Notice]
    assert len(found) == 2 and {item.filename for item in found} == {__file__}
