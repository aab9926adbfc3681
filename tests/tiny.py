"""Builds tiny presets for tests: real files in the true formats, made in a second or two."""

import os
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

from kerora.backend import import_keras_hub, set_random_seed, without_tensorflow
from tests.tiny_huggingface import tiny_huggingface

__all__ = ["TINY_PRETRAINING", "WORDS", "tiny_huggingface", "tiny_keras_preset", "wordpiece_vocabulary"]

keras_hub = import_keras_hub()

_TEXT = """
the be to of and a in that have i it for not on with he as you do at this but his by from they we say her she or an
will my one all would there their what so up out if about who get which go me when make can like time no just him
know take people into year your good some could them see other than then now look only come its over think also back
after use two how our work first well way even new want because any these give day most us is was are been has had were
movie film story plot actor scene great bad best worst love hate boring wonderful terrible awful excellent watch ending
order delivery package parcel late arrived broken refund return money bill charged card payment account password login
reset email error app crash update screen phone support team thanks help service customer item price invoice twice
world sports business technology game team player market stock company oil president minister war peace election city
science software internet computer space nasa microsoft google win won lost score cup season league match coach bank
profit sales shares growth rate court police killed attack government country state united nations south north east
very really never always again still please cannot wrong right problem issue number name address home store online
"""
WORDS = _TEXT.split()
_ENDINGS = "s ed ing ly er est n t al ion y ness ment less ful able"
PIECES = [f"##{ending}" for ending in _ENDINGS.split()]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# settings of a pre-training that takes a second or two
TINY_PRETRAINING = {
    "model.layers": 1,
    "model.width": 32,
    "model.heads": 2,
    "model.intermediate": 64,
    "model.vocabulary_size": 110,
    "model.max_length": 24,
    "model.precision": "float32",
    "training.epochs": 2,
    "training.batch_size": 16,
    "training.learning_rate": 0.01,
}


def wordpiece_vocabulary() -> list[str]:
    """Special tokens, all printable ASCII characters (as words and inside words), common words and endings."""
    characters = [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    inner = [f"##{character}" for character in characters if character.isalnum()]
    return list(dict.fromkeys([*SPECIAL, *characters, *inner, *WORDS, *PIECES]))


def tiny_keras_preset(kind: str, directory: Path, *, max_sequence_length: int = 64, seed: int = 0) -> Path:
    """Save a random two-layer Keras preset (backbone and tokenizer) of kind ``distil_bert`` or ``bert``.

    Two heads, 32 wide, an uncased WordPiece vocabulary of about 350 pieces.
    """
    classes = {"distil_bert": ("DistilBertBackbone", "DistilBertTokenizer"), "bert": ("BertBackbone", "BertTokenizer")}
    backbone_class, tokenizer_class = (getattr(keras_hub.models, name) for name in classes[kind])
    vocabulary = wordpiece_vocabulary()
    set_random_seed(seed)
    backbone = backbone_class(
        vocabulary_size=len(vocabulary),
        num_layers=2,
        num_heads=2,
        hidden_dim=32,
        intermediate_dim=64,
        max_sequence_length=max_sequence_length,
    )
    for variable in backbone.weights:
        if variable.path.endswith("/kernel"):
            # of the size that training gives, so that tokens reach one another and a test can learn
            variable.assign(variable * 8)
    directory.mkdir(parents=True, exist_ok=True)
    with without_tensorflow():
        tokenizer = tokenizer_class(vocabulary=vocabulary, lowercase=True, strip_accents=True)
        backbone.save_to_preset(str(directory))
        tokenizer.save_to_preset(str(directory))
    return directory
