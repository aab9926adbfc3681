"""Code that only saves time or memory. Other packages contain a plainer way to compute the same results.

``KERORA_PLAIN=1`` (`kerora.fast.switch`) turns it off. The layers of Keras and KerasHub then compute the model,
`kerora.lora.layers` computes the updates, and the cross entropy of torch is the loss. Results differ only by rounding
and by the values that the dropout of LoRA drops. If a fault remains with the switch, it is not in this package.

Public functions check the switch themselves, so that callers need not: a context manager does nothing, and a function
that changes layers returns without a change. Only callers that have another way to compute check the switch:
`kerora.lora.layers`, `kerora.models.next_token`, and code that divides a model at its frozen blocks.

The modules touch private attributes of Keras 3.15 and KerasHub 0.32, on which they were checked;
tests/contracts/test_private.py lists them.
"""
