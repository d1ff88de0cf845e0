"""Formats of exported models, and what their metadata holds, without torch."""

import json
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from tuner.errors import DataError, suggest

if TYPE_CHECKING:
    from tuner.training.image_model import About

ENDINGS = {"safetensors": ".safetensors", "pt2": ".pt2", "torchscript": ".pt", "onnx": ".onnx"}
"""Formats with the endings of their files. `pt2` is an exported program, which follows on TorchScript."""
KEY = "tuner"
"""Key of a file's metadata with all that is known of its model, as JSON."""
DIGEST = "digest"
"""Key of an ONNX file's metadata with the hash of the file, because the format has no checksum."""
NO_DIGEST = b"0" * 32
"""What stands in place of the hash while the file is hashed."""
NEEDED = {"onnx": ("onnx", "onnxscript", "onnxruntime")}
"""Packages that a format needs beside PyTorch."""


def check_format(name: str) -> str:
    """Return a format's name.

    Raises:
        DataError: There is no such format, or a package that it needs is missing.
    """
    if name not in ENDINGS:
        raise DataError(f"--format: found '{name}'; {suggest(name, ENDINGS)}")
    check_packages(name)
    return name


def check_packages(name: str) -> None:
    """Raise DataError if a package that a format needs is missing."""
    if missing := [package for package in NEEDED.get(name, ()) if find_spec(package) is None]:
        raise DataError(f"{name} needs {missing[0]}, which is not installed; pip install 'tuner[{name}]'")


def format_of(file: Path) -> str | None:
    """Return the format of a file by its ending, or None."""
    return next((name for name, ending in ENDINGS.items() if file.suffix.lower() == ending), None)


def hash_file(content: bytes, known: bytes = NO_DIGEST) -> bytes:
    """Hash a file without the hash that the file holds.

    Args:
        content: The file.
        known: The hash that the file holds, or NO_DIGEST in its place.

    Returns:
        32 hexadecimal digits.
    """
    return blake2b(content.replace(known, NO_DIGEST), digest_size=16).hexdigest().encode()


def metadata(about: "About") -> dict[str, str]:
    """Return the metadata of an exported model, for all programs."""
    resize = "resized by Pillow, bilinear" if about.resized else "not resized"
    size = f"{about.image_size}x{about.image_size}"
    colors = "gray" if about.channels == 1 else "RGB"
    return {
        KEY: about.model_dump_json(),
        "classes": json.dumps(about.classes),
        "input": f"uint8 (N, {about.channels}, {about.image_size}, {about.image_size}), {colors}, pixels 0 to 255",
        "preprocessing": f"upright, transparent pixels on white, {size}, {resize}; the pixels' scale is inside",
    }
