"""Training: one path through `keras.Model.fit`, its step, callbacks, schedule and checkpoints."""
