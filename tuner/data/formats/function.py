"""Data sets that a function of the user returns: `package.module:function`."""

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import getmembers, isfunction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tuner.config.code_hash import hash_network
from tuner.config.user_models import import_own
from tuner.config.validation_messages import shown
from tuner.data import progress
from tuner.data.class_names import all_spelled
from tuner.data.collecting import Pixels
from tuner.data.dataset import Decoded, Part, reason
from tuner.data.decoding import stack, to_pixels
from tuner.data.labels import Label, classes_of, label_numbers
from tuner.errors import DataError, SpecError, suggest, type_and_line

PARTS = ("train", "validation", "test")
"""Keys of a mapping that a function may return."""
SAMPLES = 32
"""Items of each part that are read again to see that the decoded images are still those of the function."""
FORM = "package.module:function"
ALLOWED = "allowed: a data set with len() and [index], or {train: …, test: …} of them"


class FunctionReader:
    """Images of the data sets that a function returns.

    Attributes:
        parts: The data set of each part. Only `train` is always there.
        has_validation: True if the function sets validation images apart.
    """

    def __init__(self, name: str, notes: Path) -> None:
        """Call the function.

        Args:
            name: `package.module:function`.
            notes: Folder that keeps fingerprints of decoded data sets.

        Raises:
            DataError: The function cannot be called, or returns something else.
        """
        self._name, self._notes = name, notes
        self._decoded: Decoded | None = None  # for the cache, which asks for the fingerprint first
        self.parts = {part: _checked_part(name, part, each) for part, each in _call(name).items()}
        self.has_validation = "validation" in self.parts

    def fingerprint(self, image_size: int | None) -> str:
        """Hash the decoded images.

        A note of an earlier decoding is used if neither the code nor a sample of the items has changed.
        """
        samples = self._samples(image_size)
        key = json.dumps([self._name, hash_network(self._name), image_size, self._classes(), samples])
        note = self._notes / hashlib.blake2b(key.encode(), digest_size=16).hexdigest()
        with progress.locked(_ready(note).with_name(f"{note.name}.lock")):
            if not note.exists():
                unfinished = note.with_name(f"{note.name}.unfinished")
                self._decoded = self._decode(image_size, samples)
                unfinished.write_text(_hash_contents(self._decoded))
                unfinished.rename(note)
        return note.read_text()

    def decode(self, image_size: int | None) -> Decoded:
        """Return what `fingerprint` has just decoded, or read every item once.

        Raises:
            DataError: An item is refused, or differs from one look to the next.
        """
        decoded, self._decoded = self._decoded, None
        return decoded or self._decode(image_size, self._samples(image_size))

    def _decode(self, image_size: int | None, samples: Mapping[str, Mapping[int, str]]) -> Decoded:
        labels: dict[str, list[Label]] = {}
        own = [part for part in ("train", "validation") if part in self.parts]
        images = stack(self._pictures(own, image_size, samples, labels))
        tested = stack(self._pictures(["test"], image_size, samples, labels)) if "test" in self.parts else None
        classes = self._classes() or classes_of(labels, self._name)
        numbers = {part: label_numbers(each, classes) for part, each in labels.items()}
        train = Part(images, np.concatenate([numbers[part] for part in own]))
        test = None if tested is None else Part(tested, numbers["test"])
        return Decoded(classes, train, test, own_validation=len(labels.get("validation", ())))

    def _classes(self) -> tuple[str, ...]:
        """Return the attribute `classes` of the training images, or ()."""
        names = getattr(self.parts["train"], "classes", None)
        is_list = isinstance(names, Sequence) and not isinstance(names, str) and len(names) > 0
        return all_spelled(map(str, names), f"{self._name}: classes") if is_list and names else ()

    def _samples(self, image_size: int | None) -> dict[str, dict[int, str]]:
        """Hash some items of each part, by their index."""
        return {
            part: {
                int(i): _hash_item(*self._item(part, int(i), image_size))
                for i in np.unique(np.linspace(0, len(each) - 1, SAMPLES).astype(int))
            }
            for part, each in self.parts.items()
        }

    def _pictures(
        self,
        parts: Sequence[str],
        image_size: int | None,
        samples: Mapping[str, Mapping[int, str]],
        labels: dict[str, list[Label]],
    ) -> Iterator[tuple[Pixels, str]]:
        """Yield each image with its name, and put its label into `labels`."""
        for part in parts:
            labels[part] = []
            for index in range(len(self.parts[part])):
                pixels, label = self._item(part, index, image_size)
                origin = f"{self._name}: item {index} of {part}"
                if index in samples[part] and samples[part][index] != _hash_item(pixels, label):
                    raise DataError(
                        f"{origin} differs from one look to the next; allowed: the same image always;"
                        " dataset.augment and training change images at random"
                    )
                labels[part].append(Label(label, origin))
                yield pixels, origin

    def _item(self, part: str, index: int, image_size: int | None) -> tuple[Pixels, int | str]:
        """Return the pixels and the label of an item."""
        origin = f"{self._name}: item {index} of {part}"
        progress.report(origin)
        item = _try(lambda: self.parts[part][index], origin)
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise DataError(f"{origin} is {_kind(item)}; allowed: (image, label)")
        return _pixels(item[0], origin, image_size), _label(item[1], origin)


def _call(name: str) -> dict[str, Any]:
    """Call the user's function and return its data sets by part."""
    path, _, member = name.partition(":")
    try:
        module = import_own(path, f"dataset.name: {name}", f"{FORM} below the current directory or installed")
    except SpecError as error:
        raise DataError(str(error)) from error
    function = getattr(module, member, None)
    if not callable(function):
        known = [key for key, value in getmembers(module, isfunction) if value.__module__ == path]
        raise DataError(f"dataset.name: {path} has no function {shown(member)}; {suggest(member, known)}")
    made = _try(function, f"{name}()")
    if not isinstance(made, Mapping):
        return {"train": made}
    for part in made:
        if part not in PARTS:
            raise DataError(f"{name}() returns a part {shown(part)}; {suggest(str(part), PARTS)}")
    if "train" not in made:
        raise DataError(f"{name}() returns no part 'train'; {ALLOWED}")
    return dict(made)


def _try(call: Callable[[], Any], what: str) -> Any:
    try:
        return call()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # because a user's code may raise anything, SystemExit too
        raise DataError(f"{what} raised {type_and_line(error)}") from error


def _checked_part(name: str, part: str, dataset: Any) -> Any:
    """Refuse what is no data set with a length."""
    if not hasattr(dataset, "__getitem__") or not hasattr(dataset, "__len__"):
        raise DataError(f"{name}() returns {_kind(dataset)} for {part}; {ALLOWED}")
    length = _try(lambda: len(dataset), f"{name}: len() of {part}")
    if length == 0:
        raise DataError(f"{name}: {part} has no items; allowed: one or more of each class")
    return dataset


def _kind(value: Any) -> str:
    length = f" of {len(value)}" if isinstance(value, tuple | list) else ""
    return type(value).__name__ + length


def _pixels(image: Any, origin: str, image_size: int | None) -> Pixels:
    """Return an image as (H, W) or (H, W, 3) uint8."""
    if isinstance(image, Image.Image):
        try:
            return to_pixels(image.copy(), origin, image_size)  # a copy, because it may be turned upright
        except OSError as error:  # because it may be read from its file only now
            raise DataError(f"{origin}: no readable image ({reason(error)})") from error
    is_tensor = hasattr(image, "detach")  # because its channels are first, as nothing else tells if there are 3 rows
    array = np.asarray(image.detach().cpu().numpy() if is_tensor else image)
    if array.ndim == 3:
        is_first = array.shape[0] in (1, 3) and (is_tensor or array.shape[2] not in (1, 3))
        array = np.moveaxis(array, 0, 2) if is_first else array
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3)) or 0 in array.shape:
        raise DataError(f"{origin}: image of shape {array.shape}; allowed: (H, W), or 1 or 3 channels first or last")
    array = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    return to_pixels(Image.fromarray(_bytes(array, origin)), origin, image_size)


def _bytes(array: NDArray[Any], origin: str) -> Pixels:
    """Return pixels as 0 to 255."""
    if array.dtype == np.uint8:
        return np.ascontiguousarray(array)
    if array.dtype == np.bool_:
        return array.astype(np.uint8) * 255
    if array.dtype.kind != "f":
        raise DataError(f"{origin}: pixels of type {array.dtype}; allowed: uint8, bool, or floats in [0, 1]")
    if not (array.min() >= 0 and array.max() <= 1):  # which NaN is not, either
        found = f"{array.min():.3g} to {array.max():.3g}"
        raise DataError(f"{origin}: pixels from {found}; allowed: floats in [0, 1]; dataset.pixels normalizes them")
    scaled: Pixels = np.rint(array * 255).astype(np.uint8)
    return scaled


def _label(label: Any, origin: str) -> int | str:
    """Return a label as a number or a text."""
    value = label.item() if hasattr(label, "item") and getattr(label, "ndim", 0) == 0 else label
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise DataError(f"{origin}: label {shown(value)}; allowed: a whole number from 0, or text")
    return value


def _hash_item(pixels: Pixels, label: int | str) -> str:
    return hashlib.blake2b(f"{pixels.shape} {label!r}".encode() + pixels.tobytes(), digest_size=16).hexdigest()


def _hash_contents(decoded: Decoded) -> str:
    """Hash the classes, images and labels of a data set."""
    digest = hashlib.blake2b(repr((decoded.classes, decoded.own_validation)).encode(), digest_size=16)
    for part in filter(None, (decoded.train, decoded.test)):
        digest.update(repr(part.images.shape).encode())
        for start in range(0, len(part.images), 1024):
            progress.report()
            digest.update(part.images[start : start + 1024].tobytes())
        digest.update(part.labels.tobytes())
    return digest.hexdigest()


def _ready(note: Path) -> Path:
    """Return a path whose folder exists."""
    note.parent.mkdir(parents=True, exist_ok=True)
    return note
