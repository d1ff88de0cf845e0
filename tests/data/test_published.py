"""Files of published weights: found in the libraries' caches, or downloaded once."""

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from huggingface_hub import constants

from tests.support.published import TINY, publish, use_caches
from tuner.config.published import PublishedWeights, describe_published
from tuner.data import published
from tuner.data.published import fetch_published, find_published
from tuner.data.weights import hash_all, hash_weights
from tuner.errors import DataError

RESNET = "torchvision:resnet18"
ON_HUB = "{repo_id}/resolve/{revision}/{filename}"
CONTENT = b"weights" * 1000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class Server(BaseHTTPRequestHandler):
    """A server of files, and of repositories as the hub answers for them."""

    asked: list[str]

    def do_HEAD(self) -> None:
        self.asked.append(f"HEAD {self.path}")
        found = "absent" not in self.path and not self.path.endswith("model.safetensors")
        self.send_response(200 if found else 404)
        headers = {"ETag": f'"{DIGEST}"', "X-Repo-Commit": "4567", "Content-Length": str(len(CONTENT))}
        for name, value in (headers if found else {"X-Error-Code": "EntryNotFound"}).items():
            self.send_header(name, value)
        self.end_headers()

    def do_GET(self) -> None:
        self.asked.append(f"GET {self.path}")
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    use_caches(tmp_path, monkeypatch)
    return tmp_path


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    Server.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as running:
        Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
        address = f"http://127.0.0.1:{running.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", address)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{address}/{ON_HUB}")
        yield address
        running.shutdown()


def describe_as(weights: PublishedWeights, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "describe_published", lambda _: weights)


@pytest.mark.parametrize("architecture", [RESNET, TINY])
@pytest.mark.slow
def test_published_weights_are_found_in_the_librarys_cache(architecture: str, caches: Path) -> None:
    weights = describe_published(architecture)
    assert find_published(weights) is None
    file = publish(architecture)
    assert caches in file.parents
    assert find_published(weights) == file
    assert fetch_published(architecture) == file
    assert hash_all([(architecture, True)], None) == {f"weights {weights.name}": hash_weights(file)}


def test_published_weights_are_downloaded_once(caches: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    weights = replace(describe_published(RESNET), url=f"{server}/resnet18-{DIGEST[:8]}.pth")
    describe_as(weights, monkeypatch)
    for _ in range(2):
        file = fetch_published(RESNET, lines.append)
        assert file == caches / "torch" / "hub" / "checkpoints" / f"resnet18-{DIGEST[:8]}.pth"
        assert file.read_bytes() == CONTENT
    assert lines == ["Downloading ResNet18_Weights.IMAGENET1K_V1 (46.8 MB)"]
    assert len(Server.asked) == 1


def test_damaged_download_is_refused(caches: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    describe_as(replace(describe_published(RESNET), url=f"{server}/resnet18-01234567.pth"), monkeypatch)
    with pytest.raises(DataError, match=r"and no download \(invalid hash value [^\n]+\); put http"):
        fetch_published(RESNET)
    assert not [file for file in caches.rglob("*") if file.is_file() and file.suffix != ".lock"]


@pytest.mark.usefixtures("server")
def test_published_weights_are_downloaded_from_the_hub(caches: Path) -> None:
    lines: list[str] = []
    for _ in range(2):
        assert fetch_published(TINY, lines.append).read_bytes() == CONTENT
    assert lines == ["Downloading test_resnet.r160_in1k (0.0 MB)"]
    assert [line for line in Server.asked if line.startswith("GET /timm")] == [
        "GET /timm/test_resnet.r160_in1k/resolve/main/pytorch_model.bin"  # because it has no safetensors
    ]
    assert (caches / "hub" / "models--timm--test_resnet.r160_in1k").is_dir()


@pytest.mark.parametrize("architecture", [RESNET, TINY])
def test_missing_network_tells_where_to_put_weights(
    architecture: str, caches: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = describe_published(architecture)
    closed = "http://127.0.0.1:9"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", f"{closed}/{ON_HUB}")
    describe_as(replace(weights, url=weights.url and f"{closed}/resnet18-f37072fd.pth"), monkeypatch)
    with pytest.raises(DataError) as caught:
        fetch_published(architecture)
    message = str(caught.value)
    assert message.startswith(f"training.pretrained: no weights {weights.name} for {architecture} on ")
    assert message.endswith(", or name a file: pretrained: PATH")
    torch_file = f"put {closed}/resnet18-f37072fd.pth at {caches}/torch/hub/checkpoints/resnet18-f37072fd.pth"
    hub_folder = f"copy models--timm--test_resnet.r160_in1k to {caches}/hub from a machine that has it"
    assert (hub_folder if weights.hub else torch_file) in message
    assert message.isprintable()
