"""The data set of a study, checked before any trial."""

import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from tuner import data
from tuner.config.dataset import DatasetConfig, Normalization
from tuner.config.published import describe_published
from tuner.config.registry import architecture
from tuner.config.study import StudyConfig
from tuner.config.user_models import is_own
from tuner.data import progress
from tuner.data.duplicates import warn_of_copies
from tuner.data.published import fetch_published, format_bytes
from tuner.data.splits import split_folds
from tuner.errors import DataError, SpecError
from tuner.training import watchdog

if TYPE_CHECKING:
    from torch import nn

DIGITS = ("digits", "mnist")
"""Data sets whose classes change when an image is mirrored or turned over."""
LARGEST_TURN = 45
"""Degrees up to which a digit stays the same."""
PIXEL_TOLERANCE = 0.01
"""Largest difference of a mean or deviation from that of published weights, with pixels in [0, 1]."""


def load_fitting(spec: StudyConfig, root: Path | None, say: Callable[[str], object] = lambda _: None) -> data.Dataset:
    """Load a study's images and check that they fit it.

    They are decoded here once, before any worker asks for them.

    Args:
        spec: The study.
        root: Folder in which data sets are searched first. None: as in `tuner.data.load`.
        say: Called with a line for each file of pretrained weights, and before a download.

    Raises:
        DataError: The images or pretrained weights are missing or broken, or reading them hangs.
        SpecError: They are too small, or not suited to an architecture or a metric.
    """
    dataset = _load_watched(spec.dataset, root)
    warn_of_copies(dataset, split_folds(dataset, spec.dataset))
    _warn_of_turned_digits(spec.dataset)
    _check_pixels(spec.dataset.pixels, dataset)
    _check_metrics(spec, dataset)
    for name in spec.architectures:
        least, size = architecture(name).min_size, dataset.image_size
        if size < least:
            found = f"{dataset.name} has {size}x{size}"
            raise SpecError(f"architecture: {name} needs images of {least}x{least}, {found}")
        if ":" in name:
            _try_foreign(spec, name, dataset, root)
    _warn_of_other_pixels(spec, dataset)
    for name, pretrained in spec.weights:
        _try_weights(spec, name, pretrained, dataset, root, say)
    return dataset


def _warn_of_turned_digits(config: DatasetConfig) -> None:
    """Warn of augmentations that change the meaning of a digit."""
    augment = config.augment
    if config.name in DIGITS and (augment.flip or augment.rotate > LARGEST_TURN):
        found = "flip: true" if augment.flip else f"rotate: {augment.rotate:g}"
        progress.warn_once(
            f"dataset.augment: found {found}, but digits that are mirrored or turned over mean something else;"
            f" better: flip: false, and rotate up to {LARGEST_TURN}"
        )


def _check_metrics(spec: StudyConfig, dataset: data.Dataset) -> None:
    """Refuse a metric that is the same for every network."""
    classes = len(dataset.classes)
    if "val_top5_accuracy" in spec.extra_metrics and classes <= 5:
        place = "metrics" if "val_top5_accuracy" in spec.metrics else "objective"
        raise SpecError(
            f"{place}: found 'val_top5_accuracy', which is always 1 with the {classes} classes of {dataset.name};"
            " allowed: 6 classes or more; use val_accuracy"
        )


def _check_pixels(pixels: str | Normalization, dataset: data.Dataset) -> None:
    """Refuse means of other channels than the images have."""
    if isinstance(pixels, Normalization):
        for key, values in (("mean", pixels.mean), ("deviation", pixels.deviation)):
            if len(values) != dataset.in_channels:
                raise SpecError(
                    f"dataset.pixels.{key}: found {len(values)} numbers; allowed: {dataset.in_channels},"
                    f" one for each channel of {dataset.name}"
                )


def _warn_of_other_pixels(spec: StudyConfig, dataset: data.Dataset) -> None:
    """Warn of pixels on another scale than published weights expect."""
    pixels = spec.dataset.pixels
    names = [name for name, pretrained in spec.weights if pretrained is True]
    for name in names if pixels != "auto" else ():
        published = describe_published(name).moments(dataset.in_channels)
        if not _agree(pixels, published):
            mean, deviation = ([round(value, 3) for value in values] for values in published)
            progress.warn_once(
                f"dataset.pixels: found {_describe_pixels(pixels)}, but the weights of {name} were trained with"
                f" mean {mean}, deviation {deviation}; better: pixels: auto, or no `pixels`"
            )


def _agree(pixels: str | Normalization, published: tuple[tuple[float, ...], tuple[float, ...]]) -> bool:
    """Return True if pixels are on the scale of published weights.

    The means and deviations may differ by `PIXEL_TOLERANCE`.
    """
    if isinstance(pixels, Normalization):
        found = zip((*pixels.mean, *pixels.deviation), (*published[0], *published[1]), strict=True)
        return all(abs(own - theirs) <= PIXEL_TOLERANCE for own, theirs in found)
    is_half = all(abs(value - 0.5) <= PIXEL_TOLERANCE for values in published for value in values)
    return pixels == "symmetric" and is_half


def _describe_pixels(pixels: str | Normalization) -> str:
    if isinstance(pixels, str):
        return pixels
    return f"mean {list(pixels.mean)}, deviation {list(pixels.deviation)}"


def _try_weights(
    spec: StudyConfig,
    name: str,
    pretrained: bool | str,
    dataset: data.Dataset,
    root: Path | None,
    say: Callable[[str], object],
) -> None:
    """Fit pretrained weights to a network, and describe the fit."""
    import torch  # here, because it takes seconds

    from tuner.models.weights import start_from

    source = str(pretrained)
    if pretrained is True:
        file = fetch_published(name, say)
        source = f"{describe_published(name).name} ({file}, {format_bytes(file.stat().st_size)})"
    classes, network = len(dataset.classes), _outline(spec, name, dataset)
    images = {"in_channels": dataset.in_channels, "classes": classes, "image_size": dataset.image_size}
    with torch.random.fork_rng(devices=[]):
        fit = start_from(network, name, pretrained, root, **images)
    head = f"; its head {fit.head} is new, for {classes} classes" if fit.head else ""
    is_summed = fit.summed or (pretrained is True and dataset.in_channels == 1)
    summed = "; the weights of its three colors are added, for gray images" if is_summed else ""
    say(f"{name} starts from {source}{head}{summed}")


def _outline(spec: StudyConfig, name: str, dataset: data.Dataset) -> "nn.Module":
    """Build a network without values, unless it is the user's."""
    from tuner import models

    return models.build_on_meta(
        name,
        in_channels=dataset.in_channels,
        classes=len(dataset.classes),
        image_size=dataset.image_size,
        **spec.training_config({"architecture": name}).hyperparameters,
    )


def _load_watched(config: DatasetConfig, root: Path | None) -> data.Dataset:
    """Load images in a thread, and give up when it hangs.

    A thread that hangs can be left but not ended.

    Raises:
        DataError: As `tuner.data.load`, or nothing was read for `watchdog.HANG_SECONDS`.
    """
    loaded: Future[data.Dataset] = Future()
    heard_at = time.monotonic()

    def load() -> None:
        try:
            loaded.set_result(data.load(config, root))
        except BaseException as error:
            loaded.set_exception(error)

    def hear() -> None:
        nonlocal heard_at
        heard_at = time.monotonic()

    with progress.heard(hear):
        Thread(target=load, name="load-images", daemon=True).start()
        while (left := heard_at + watchdog.HANG_SECONDS - time.monotonic()) > 0:
            if wait([loaded], left).done:
                return loaded.result()
        raise DataError(
            f"{progress.place or config.name}: reading has not moved on for {watchdog.HANG_SECONDS:.0f} s;"
            " check the disk or the network drive; the same command tries again"
        )


def _try_foreign(spec: StudyConfig, name: str, dataset: data.Dataset, root: Path | None) -> None:
    """Build a network of torchvision or the user.

    It may not suit these images. A user's network is trained for one step too, because it may fail
    in training mode only. The state of torch's random numbers stays as it was.
    """
    import torch  # here, because it takes seconds

    from tuner.data.device import device_data
    from tuner.training.probe import try_smallest

    with torch.random.fork_rng(devices=[]):
        _outline(spec, name, dataset)
        if is_own(name):
            try_smallest(spec, name, device_data(dataset.folder, spec.dataset, "cpu"), root)
