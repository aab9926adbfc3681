"""Lets `fit`, `evaluate` and `predict` of Keras take texts and class names in place of token ids and numbers."""

import inspect
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import torch

from kerora.data.batches import Batches
from kerora.errors import ConfigError
from kerora.models.compiling import check_callbacks
from kerora.models.raw_texts import ENCODED, RawRows, are_lists, are_names, is_raw, plain_labels, raw_rows
from kerora.settings.base import shown

BATCH_SIZE = 32
"""Rows in a batch where none is given, as in Keras."""


class TextFit(keras.Model):
    """The methods of Keras that read data, for texts too. Encoded inputs go to Keras as they are.

    A subclass makes batches of texts (`raw_batches`), inputs of a few texts (`encode_rows`) and targets (`targets_of`).
    """

    def raw_batches(self, rows: RawRows, *, batch_size: int, shuffle: bool, by_length: bool, seed: int) -> Batches:
        """Make batches of texts; see `Batches`."""
        raise NotImplementedError

    def encode_rows(self, rows: RawRows) -> Any:
        """Return the inputs for texts, all of the same length."""
        raise NotImplementedError

    def forget_decision(self) -> None:
        """Undo what was fitted on validation rows for the logits of this model: a training changes the logits."""

    def targets_of(self, labels: np.ndarray) -> np.ndarray:
        """Return the targets for labels."""
        raise NotImplementedError

    several_labels: bool = False
    """Whether a text can have several labels, so that labels can be lists."""

    def _raw(self, x: Any, y: Any = None, weights: Any = None) -> RawRows:
        return raw_rows(x, y, weights, several=self.several_labels)

    def _are_names(self, y: Any) -> bool:
        return are_names(y) or (self.several_labels and are_lists(y))

    def _targets(self, y: Any) -> Any:
        return self.targets_of(plain_labels(y, self.several_labels))

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return the outputs for inputs, or for a few texts."""
        if args and not isinstance(args[0], Mapping) and is_raw(args[0]):
            args = (self.encode_rows(self._raw(args[0])), *args[1:])
        return super().__call__(*args, **kwargs)

    def fit(self, *args: Any, **kwargs: Any) -> Any:
        """Train as `fit` of Keras does.

        Beside the inputs of Keras, x may be texts and y class numbers or class names: ``model.fit(texts, labels)``.
        Texts are columns of strings of any kind, pairs of texts are a tuple of two columns. They are served as
        `TaskModel.batches` does: rows of similar length share a batch, and each batch is padded to its longest row. The
        order follows the random seed of Keras. With ``shuffle=False`` rows keep the given order. Datasets, loaders and
        generators may yield batches of texts.

        Args:
            *args: as in `keras.Model.fit`.
            **kwargs: as in `keras.Model.fit`.

        Raises:
            ConfigError: the texts, labels or weights do not fit together.
            DataError: a label is no class.
        """
        given = keras_arguments(keras.Model.fit, self, args, kwargs)
        self.forget_decision()
        check_callbacks(self, given.get("callbacks"))
        if isinstance(given.get("class_weight"), str) and not (is_raw(given.get("x")) and _balanced(given)):
            raise ConfigError(
                "class_weight is a dict of classes and weights, or 'balanced' for texts with labels. "
                f"Received: {shown(given['class_weight'])}"
            )
        size = given.get("batch_size") or BATCH_SIZE
        if is_raw(given.get("x")):
            self._fit_rows(given, size)
        else:
            given.update(self._without_texts(given))
        if isinstance(given.get("x"), torch.utils.data.DataLoader | Iterator):
            # Loaders and generators have their order. Keras would warn of its own default.
            given.setdefault("shuffle", False)
        held_out = given.get("validation_data")
        if held_out is not None:
            given["validation_data"] = self._held_out(held_out, given.get("validation_batch_size") or size)
        return super().fit(**given)

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate as `evaluate` of Keras does. Texts and class names are taken as in `fit`."""
        given = keras_arguments(keras.Model.evaluate, self, args, kwargs)
        if is_raw(given.get("x")):
            rows = self._raw(given.pop("x"), given.pop("y", None), given.pop("sample_weight", None))
            given["x"] = self._batches(rows, given.get("batch_size"), by_length=given.get("steps") is None)
        else:
            given.update(self._without_texts(given))
        return super().evaluate(**given)

    def predict(self, *args: Any, **kwargs: Any) -> Any:
        """Return the outputs for inputs, as `predict` of Keras does, in the order of the rows. Texts are taken too.

        The outputs of `Batches` are in the order of the rows, unless ``steps`` computes only the first batches.
        """
        given = keras_arguments(keras.Model.predict, self, args, kwargs)
        if is_raw(given.get("x")):
            # With `steps`, the first texts are wanted and not the longest.
            first = given.get("steps") is None
            given["x"] = self._batches(self._raw(given["x"]), given.get("batch_size"), by_length=first)
        else:
            given["x"] = self._stream(given.get("x"))
        order = given["x"].order if isinstance(given["x"], Batches) else None
        outputs = super().predict(**given)
        if order is None or len(outputs) != len(order):
            return outputs
        in_row_order = np.empty_like(outputs)
        in_row_order[order] = outputs
        return in_row_order

    def train_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Do one training step as `train_on_batch` of Keras does. Texts and class names are taken as in `fit`."""
        return super().train_on_batch(*self._encoded((x, y, sample_weight)), *args, **kwargs)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Evaluate one batch as `test_on_batch` of Keras does. Texts and class names are taken as in `fit`."""
        return super().test_on_batch(*self._encoded((x, y, sample_weight)), *args, **kwargs)

    def predict_on_batch(self, x: Any) -> Any:
        """Return the outputs of one batch as `predict_on_batch` of Keras does. Texts are taken too."""
        return super().predict_on_batch(self._encoded((x,))[0])

    def _fit_rows(self, given: dict[str, Any], size: int) -> None:
        rows = self._raw(given.pop("x"), given.pop("y", None), given.pop("sample_weight", None))
        share = given.pop("validation_split", 0.0)
        if share and given.get("validation_data") is None:
            # As in Keras, the last rows are held out, before any shuffling.
            cut = math.floor(len(rows) * (1 - share))
            if not 0 < cut < len(rows):
                raise ConfigError(f"validation_split={share} of {len(rows)} texts leaves one part empty. Change it.")
            held_out, rows = rows.part(cut, len(rows)), rows.part(0, cut)
            given["validation_data"] = self._batches(held_out, given.get("validation_batch_size") or size)
        shuffle = bool(given.get("shuffle", True))
        # From the generator of torch, so that `set_random_seed` decides the order, and a second fit has another one.
        seed = int(torch.randint(2**31 - 1, ())) if shuffle else 0
        batches = self.raw_batches(rows, batch_size=size, shuffle=shuffle, by_length=False, seed=seed)
        # The windows of long texts are rows of their own, which Keras averages the loss over.
        batches.pooled, batches.mean_weight = False, getattr(self, "_step", None) is None
        # Keras would shuffle the batches, whose order is random already.
        given["x"], given["shuffle"] = batches, False
        if _balanced(given):
            numbers = self.targets_of(rows.labels)
            numbers = numbers.argmax(axis=1) if numbers.ndim > 1 else numbers
            counts = {int(number): int((numbers == number).sum()) for number in set(numbers.reshape(-1).tolist())}
            given["class_weight"] = {key: len(numbers) / (len(counts) * count) for key, count in counts.items()}
        elif isinstance(given.get("class_weight"), Mapping):
            given["class_weight"] = self._class_weight(given["class_weight"])
            if batches.table.windows is not None and rows.weights is None:
                # Keras takes no class weights beside the weights of windows.
                batches.class_weights = _by_class(given.pop("class_weight"), self.output_shape[-1])

    def _class_weight(self, weights: Mapping[Any, float]) -> dict[int, float]:
        numbers = self._targets(list(weights))
        return {int(number): weight for number, weight in zip(numbers, weights.values(), strict=True)}

    def _held_out(self, data: Any, size: int) -> Any:
        x, y, weights = keras.utils.unpack_x_y_sample_weight(data)
        if is_raw(x):
            return self._batches(self._raw(x, y, weights), size)
        if self._are_names(y):
            return x, self._targets(y), *(() if weights is None else (weights,))
        return self._stream(data)

    def _without_texts(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments that hold texts in another form: names of classes, and streams of texts."""
        x, y = given.get("x"), given.get("y")
        changed = {} if y is None or not self._are_names(y) else {"y": self._targets(y)}
        return changed if isinstance(x, Mapping | Batches) else {**changed, "x": self._stream(x)}

    def _batches(self, rows: RawRows, size: int | None, *, by_length: bool = True) -> Batches:
        return self.raw_batches(rows, batch_size=size or BATCH_SIZE, shuffle=False, by_length=by_length, seed=0)

    def _encoded(self, batch: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return a batch of texts with labels as inputs and targets. Other batches stay as they are."""
        x, *rest = batch
        if isinstance(x, Mapping) and ENCODED in x:
            return (x, self._targets(rest[0]), *rest[1:]) if rest and self._are_names(rest[0]) else batch
        if not is_raw(x):
            return batch
        rows = self._raw(x, *rest)
        targets = None if rows.labels is None else self.targets_of(rows.labels)
        return (self.encode_rows(rows), targets, rows.weights)[: len(batch)]

    def _stream(self, data: Any) -> Any:
        """Return a stream of batches that encodes batches of texts. Other data stays as it is."""

        def encoded(batch: Any) -> Any:
            return self._encoded(_as_tuple(batch))

        if isinstance(data, keras.utils.PyDataset):
            return data if isinstance(data, Batches) else _EncodedDataset(data, encoded)
        if isinstance(data, torch.utils.data.DataLoader):
            return _loader(data, encoded, _length(data))
        if type(data).__module__.partition(".")[0] == "tensorflow" and hasattr(data, "element_spec"):
            return _loader(_NumpyBatches(data), encoded, _length(data)) if _holds_texts(data) else data
        if isinstance(data, Iterator):
            # Keras takes generators, but no other iterators.
            return (encoded(batch) for batch in data)
        return data


def _balanced(given: Mapping[str, Any]) -> bool:
    return isinstance(given.get("class_weight"), str) and given["class_weight"] == "balanced"


class _EncodedDataset(keras.utils.PyDataset):
    """A dataset of Keras whose batches of texts are encoded."""

    def __init__(self, inner: keras.utils.PyDataset, encoded: Callable[[Any], Any]) -> None:
        super().__init__(inner.workers, inner.use_multiprocessing, inner.max_queue_size)
        self._inner, self._encode = inner, encoded

    @property
    def num_batches(self) -> int | None:
        """Number of batches, or None if they have no end."""
        count: int | None = self._inner.num_batches
        return count

    def __getitem__(self, index: int) -> Any:
        """Return batch `index`."""
        return self._encode(self._inner[index])

    def on_epoch_begin(self) -> None:
        """Begin an epoch."""
        self._inner.on_epoch_begin()

    def on_epoch_end(self) -> None:
        """End an epoch."""
        self._inner.on_epoch_end()


class _Stream(torch.utils.data.IterableDataset[Any]):
    """Batches from an iterable, each encoded."""

    def __init__(self, source: Any, encoded: Callable[[Any], Any]) -> None:
        self._source, self._encode = source, encoded

    def __iter__(self) -> Iterator[Any]:
        return map(self._encode, self._source)


class _SizedStream(_Stream):
    """Batches of known number."""

    def __init__(self, source: Any, encoded: Callable[[Any], Any], length: int) -> None:
        super().__init__(source, encoded)
        self._length = length

    def __len__(self) -> int:
        return self._length


class _NumpyBatches:
    """The batches of a tf.data dataset, with arrays of numpy."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def __iter__(self) -> Iterator[Any]:
        return iter(self._data.as_numpy_iterator())


def _loader(source: Any, encoded: Callable[[Any], Any], length: int | None) -> Any:
    stream = _Stream(source, encoded) if length is None else _SizedStream(source, encoded, length)
    # Keras takes loaders, not datasets. With a generator of its own the loader leaves that of torch as it is.
    return torch.utils.data.DataLoader(stream, batch_size=None, generator=torch.Generator())


def _length(data: Any) -> int | None:
    """Return the number of batches, or None if it is unknown."""
    try:
        length = len(data)
    except TypeError:
        return None
    return int(length)


def _holds_texts(data: Any) -> bool:
    spec = data.element_spec
    inputs = spec[0] if isinstance(spec, tuple | list) else spec
    if not all(getattr(part.dtype, "name", "") == "string" for part in keras.tree.flatten(inputs)):
        return False
    if any(part.shape.rank == 0 for part in keras.tree.flatten(inputs)):
        raise ConfigError("The tf.data dataset yields single texts. Batch it: dataset.batch(32).")
    return True


def _by_class(weights: Mapping[int, float], classes: int) -> np.ndarray:
    """Return the weight of each class, float32 (classes,). As in Keras, a class without a weight has 1."""
    found = np.ones(classes, np.float32)
    found[list(weights)] = list(weights.values())
    return found


def _as_tuple(batch: Any) -> tuple[Any, ...]:
    # A list of strings is a column of texts, any other list is (x, y) or (x, y, weights) as in Keras.
    if isinstance(batch, tuple) and len(batch) <= 3 and not all(isinstance(part, str | bytes) for part in batch):
        return batch
    if isinstance(batch, list) and not is_raw(batch):
        return tuple(batch)
    # Default loaders of torch give texts as a tuple or list, beside their labels in a list.
    if isinstance(batch, list) and len(batch) in (1, 2, 3) and not isinstance(batch[0], str | bytes):
        return tuple(batch)
    return (batch,)


def keras_arguments(method: Any, model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a method of Keras by name."""
    signature = inspect.signature(method)
    # Keras calls `evaluate` with arguments of its own, which the signature takes as `**kwargs`.
    found = dict(signature.bind_partial(model, *args, **kwargs).arguments)
    more = found.pop("kwargs", {})
    return {name: value for name, value in found.items() if name != "self"} | more
