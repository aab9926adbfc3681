"""What is only there for speed and memory: nothing that is computed here is not computed elsewhere in a plainer way.

Taken out with ``KERORA_PLAIN=1`` (`kerora.fast.switch`): then Keras' and KerasHub's own layers compute the model, the
forward pass in `kerora.lora.layers` the updates, and torch's cross entropy the loss. Results are the same but for
rounding and for which values LoRA's dropout drops. A fault that stays under the switch is not of this package.

Each door asks the switch, so that callers need not: a context manager does nothing, a function that teaches layers
leaves them as they are. Only `kerora.lora.layers`, `kerora.models.next_token` and whoever divides a model at its frozen
blocks have another way to go, and ask themselves.

The modules touch private attributes of Keras 3.15 and KerasHub 0.32, on which they were checked;
tests/contracts/test_private.py lists them.
"""
