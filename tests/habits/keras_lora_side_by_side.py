"""LoRA of KerasHub's backbone and of Kerora, one after another on the same preset."""

import os

import kerora

# isort: split
import keras_hub
import numpy as np

TEXTS, LABELS = ["a great film", "a boring story"] * 4, [1, 0] * 4
PRESET = os.environ.get("PRESET", "kerora_mini_en")


def trainable(model) -> int:
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


ours = kerora.TextClassifier.from_preset(PRESET, num_classes=2)
print(ours.enable_lora(rank=4, targets="query,value"))

hub = kerora.TextClassifier.from_preset(PRESET, num_classes=2)
assert isinstance(hub.backbone, keras_hub.models.Backbone)
plain = hub.predict(TEXTS, verbose=0)
hub.backbone.enable_lora(4)
assert np.allclose(hub.predict(TEXTS, verbose=0), plain, atol=1e-6), "an update begins at zero"
print(trainable(hub), "weights with KerasHub's LoRA,", trainable(ours), "with Kerora's")

for model in (ours, hub):
    model.compile()
    model.fit(TEXTS, LABELS, verbose=0)
assert not np.array_equal(ours.predict(TEXTS, verbose=0), hub.predict(TEXTS, verbose=0))

backbone = keras_hub.models.Backbone.from_preset(str(ours.preset.directory))
print(kerora.enable_lora(backbone, rank=4))
try:
    kerora.enable_lora(hub, rank=4)
except kerora.errors.KeroraError as error:
    print(error)
else:
    raise AssertionError("two kinds of LoRA on one model")
