"""Images as data URIs, which a page holds without files beside it."""

import base64
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LARGEST_SIDE = 96
"""Pixels of a picture's side at most."""


def data_uri(image: NDArray[np.uint8]) -> str:
    """Encode an image (C, H, W) as a PNG data URI.

    The image has 1 or 3 channels.
    """
    channels = np.ascontiguousarray(image.transpose(1, 2, 0))
    drawn = Image.fromarray(channels[:, :, 0] if channels.shape[2] == 1 else channels)
    drawn.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    stream = BytesIO()
    drawn.save(stream, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stream.getvalue()).decode()}"
