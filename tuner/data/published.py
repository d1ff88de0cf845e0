"""Files of published weights, in the caches of torchvision and timm."""

import contextlib
import logging
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

from tuner.config.published import PublishedWeights, describe_published
from tuner.data import progress
from tuner.data.dataset import reason
from tuner.errors import DataError

FETCH_SECONDS = 20.0
"""Seconds to wait for a server before a download is given up."""


def find_published(weights: PublishedWeights) -> Path | None:
    """Find published weights in the caches of Hugging Face and torch.hub."""
    if weights.hub:
        from huggingface_hub import try_to_load_from_cache  # late, because few studies need it

        repository, _, revision = weights.hub.partition("@")
        for name in weights.files:
            if isinstance(found := try_to_load_from_cache(repository, name, revision=revision or None), str):
                return Path(found)
    file = _torch_file(weights) if weights.url else None
    return file if file and file.is_file() else None


def fetch_published(architecture: str, say: Callable[[str], object] = lambda _: None) -> Path:
    """Return the file of a network's published weights.

    The file is downloaded on its first use on this machine.

    Args:
        architecture: `torchvision:NAME` or `timm:NAME`.
        say: Called with a line before a download.

    Raises:
        DataError: The weights are not here, and cannot be downloaded. The error tells where to put
            them.
    """
    weights = describe_published(architecture)
    if found := find_published(weights):
        return found
    try:
        with _quietly():
            return _from_hub(weights, say) if weights.hub else _from_url(weights, say)
    except Exception as error:  # because the client of the hub raises errors of other libraries
        raise DataError(
            f"training.pretrained: no weights {weights.name} for {architecture} on {socket.gethostname()}, and no"
            f" download ({reason(error)}); {_remedy(weights)}, or name a file: pretrained: PATH"
        ) from error


def format_bytes(count: int) -> str:
    """Return a number of bytes as people write it: `46.8 MB`."""
    return f"{count / 1e6:.1f} MB" if count < 1e9 else f"{count / 1e9:.1f} GB"


def _torch_file(weights: PublishedWeights) -> Path:
    """Return where torch.hub keeps a file."""
    import torch.hub

    return Path(torch.hub.get_dir(), "checkpoints", weights.url.rpartition("/")[2])


def _from_url(weights: PublishedWeights, say: Callable[[str], object]) -> Path:
    import torch.hub

    file = _torch_file(weights)
    file.parent.mkdir(parents=True, exist_ok=True)
    with progress.locked(file.with_name(f".{file.name}.lock")):
        if not file.is_file():  # because another process may have been faster
            _announce(weights, weights.size, say)
            hashed = re.search(r"-([0-9a-f]{8,})\.", file.name)
            torch.hub.download_url_to_file(weights.url, str(file), hashed and hashed[1], progress=False)
    return file


def _from_hub(weights: PublishedWeights, say: Callable[[str], object]) -> Path:
    """Download weights from the hub, which waits for other processes itself."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url
    from huggingface_hub.errors import RemoteEntryNotFoundError

    repository, _, revision = weights.hub.partition("@")
    for name in weights.files:
        try:  # because it fails at once without a network, and the download after many retries
            about = get_hf_file_metadata(hf_hub_url(repository, name, revision=revision or None), timeout=FETCH_SECONDS)
        except RemoteEntryNotFoundError:
            continue
        _announce(weights, about.size, say)
        with _without_bars():
            return Path(hf_hub_download(repository, name, revision=revision or None))
    raise FileNotFoundError(f"{repository} has no {' or '.join(weights.files)}")


def _announce(weights: PublishedWeights, size: int | None, say: Callable[[str], object]) -> None:
    say(f"Downloading {weights.name}" + (f" ({format_bytes(size)})" if size else ""))


def _remedy(weights: PublishedWeights) -> str:
    """Tell where the library finds a file that was brought by hand."""
    if not weights.hub:
        return f"put {weights.url} at {_torch_file(weights)}"
    from huggingface_hub import constants

    folder = f"models--{weights.hub.partition('@')[0].replace('/', '--')}"
    return f"copy {folder} to {constants.HF_HUB_CACHE} from a machine that has it"


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Set a timeout and silence the hub's log during a download.

    Progress is reported all the while.
    """
    timeout_before, logger = socket.getdefaulttimeout(), logging.getLogger("huggingface_hub")
    level_before = logger.level
    socket.setdefaulttimeout(FETCH_SECONDS)
    logger.setLevel(logging.CRITICAL)
    try:
        with progress.reporting():
            yield
    finally:
        socket.setdefaulttimeout(timeout_before)
        logger.setLevel(level_before)


@contextlib.contextmanager
def _without_bars() -> Iterator[None]:
    """Let the hub's client show no bars of progress."""
    from huggingface_hub.utils.tqdm import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    were_disabled = are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    finally:
        if not were_disabled:
            enable_progress_bars()
