"""Loading of trained models: a folder of `tuner final`, or a file of `tuner export`.

>>> model = tuner.load_model("results/digits/model")  # doctest: +SKIP
>>> model.classes[model.predict(images).argmax(1)[0]]  # doctest: +SKIP
"""

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tuner.errors import DataError, DeviceError, first_line
from tuner.training.export import hash_state
from tuner.training.formats import DIGEST, ENDINGS, KEY, check_packages, format_of, hash_file
from tuner.training.image_model import About, ImageModel
from tuner.training.saved_model import SavedModel, build, fit, load_folder

AGAIN = "`tuner export` writes it again"


class GraphModel(ImageModel):
    """A model whose file holds its whole computation.

    It needs no code of its network.

    Args:
        about: Its classes, images and origin.
        run: The function from uint8 images to probabilities, on the CPU.
    """

    def __init__(self, about: About, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__(about, torch.device("cpu"))
        self._run = run

    def _probabilities(self, images: Tensor) -> Tensor:
        return self._run(images)


def load_model(path: str | Path, device: str = "cpu") -> ImageModel:
    """Load a model that `tuner final` or `tuner export` wrote.

    Args:
        path: The model's folder or file.
        device: The device that predicts: cpu | cuda. Files .pt2, .pt and .onnx predict on the CPU.

    Raises:
        DataError: There is no model, a file of it is damaged, or a package is missing.
        SpecError: The code of its network is missing or was edited.
        DeviceError: torch sees no GPU.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError(f"device: found '{device}', but torch sees no GPU; allowed: cpu")
    file = Path(path)
    kind = format_of(file)
    if file.is_file() and kind is None:
        raise DataError(f"{file}: no model; allowed: a folder, or a file {', '.join(ENDINGS.values())}")
    if kind is None or file.is_dir():
        return load_folder(file, torch.device(device))
    if not file.is_file():
        raise DataError(f"{file}: no such file; `tuner export` writes one")
    match kind:
        case "safetensors":
            return _load_weights(file, torch.device(device))
        case "pt2":
            return _load_archive(file, lambda found: torch.export.load(file, extra_files=found).module())
        case "torchscript":
            return _load_archive(file, lambda found: _load_script(file, found))
        case _:
            return _load_onnx(file)


def _load_weights(file: Path, device: torch.device) -> SavedModel:
    """Load weights, and build their network."""
    try:
        with safe_open(file, "pt") as opened:
            found = opened.metadata() or {}
            state = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 because it is no dict
    except (SafetensorError, OSError) as error:
        raise DataError(f"{file}: damaged: {first_line(error)}; {AGAIN}") from error
    about = _read_about(file, found)
    if (digest := hash_state(state)) != about.weights:
        raise DataError(f"{file}: damaged (hash {digest}, not {about.weights}); {AGAIN}")
    network = build(file, about)
    fit(network, state, str(file))
    return SavedModel(about, network, device)


def _load_archive(file: Path, load: Callable[[dict[str, Any]], Callable[[Tensor], Tensor]]) -> GraphModel:
    """Load a graph of PyTorch and its metadata.

    `load` returns the graph and fills its argument with the metadata.
    """
    found: dict[str, Any] = {KEY: ""}
    try:
        with ZipFile(file) as archive:
            if broken := archive.testzip():  # because PyTorch ignores flipped bits
                raise BadZipFile(f"checksum of {broken}")
        module = load(found)
    except Exception as error:  # because PyTorch raises errors of any type on damaged files
        raise DataError(f"{file}: damaged: {first_line(error)}; {AGAIN}") from error
    return GraphModel(_read_about(file, found), module)


def _load_script(file: Path, found: dict[str, Any]) -> Callable[[Tensor], Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # because PyTorch has deprecated TorchScript
        script: Any = torch.jit.load(str(file), "cpu", _extra_files=found)  # type: ignore[no-untyped-call]
    return lambda images: script(images)


def _load_onnx(file: Path) -> GraphModel:
    """Load a model of ONNX into its runtime."""
    check_packages("onnx")
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # because its warnings tell of optimizations
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # because the runtime's errors have no common type
        raise DataError(f"{file}: damaged: {first_line(error)}; {AGAIN}") from error
    found = session.get_modelmeta().custom_metadata_map
    about = _read_about(file, found)
    digest = found.get(DIGEST, "").encode()
    if not digest or hash_file(file.read_bytes(), digest) != digest:
        raise DataError(f"{file}: damaged, or changed since it was exported; {AGAIN}")
    name = session.get_inputs()[0].name

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, {name: images.numpy()})[0])

    return GraphModel(about, run)


def _read_about(file: Path, found: Mapping[str, Any]) -> About:
    """Read what a file's metadata tells of its model."""
    text = found.get(KEY) or ""
    try:
        return About.model_validate_json(text)
    except ValidationError as error:
        what = f"damaged metadata: {first_line(error)}" if text else "no model of tuner (its metadata are missing)"
        raise DataError(f"{file}: {what}; {AGAIN}") from error
