import gzip
import hashlib
import os
import pickle
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.support.image_files import (
    TEN,
    noise,
    png,
    write_cifar10,
    write_folder,
    write_idx,
    write_mnist,
    write_parquet,
    write_png,
)
from tuner.config.dataset import DatasetConfig
from tuner.config.registry import DATASETS
from tuner.data import load
from tuner.data.formats.torchvision import FOLDERS
from tuner.errors import DataError


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def refusal(root: Path, cache: Path, **config: object) -> str:
    """Return the one line with which `load` refuses a configuration."""
    with pytest.raises(DataError) as caught:
        load(DatasetConfig.model_validate(config), root, cache)
    assert "\n" not in str(caught.value)
    assert not list(cache.glob("arrays/*.unfinished"))
    return str(caught.value)


# --- by name


def test_digits_are_scaled_and_hold_out_test(cache: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load(DatasetConfig(name="digits"), None, cache)
    assert (digits.train_images.shape, digits.test_images.shape) == ((1437, 1, 8, 8), (360, 1, 8, 8))
    assert (digits.in_channels, digits.image_size, digits.classes) == (1, 8, tuple("0123456789"))
    sklearn_digits = load_digits()
    expected = np.rint(sklearn_digits.images * 255 / 16).astype(np.uint8)
    images = np.concatenate([digits.train_images, digits.test_images])[:, 0]
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    pairs = {(image.tobytes(), label) for image, label in zip(expected, sklearn_digits.target, strict=True)}
    assert {(image.tobytes(), label) for image, label in zip(images, labels, strict=True)} == pairs
    shares = np.bincount(digits.test_labels) / np.bincount(sklearn_digits.target)
    assert np.abs(shares - 0.2).max() < 0.006


def test_mnist_is_read_in_file_order(root: Path, cache: Path) -> None:
    train, test = noise(30, 28, 28), noise(20, 28, 28, seed=1)
    write_mnist(root / "MNIST" / "raw", train, test)
    mnist = load(DatasetConfig(name="mnist"), root, cache)
    assert np.array_equal(mnist.train_images[:, 0], train)
    assert np.array_equal(mnist.test_images[:, 0], test)
    assert np.array_equal(mnist.train_labels, np.resize(TEN, 30))
    assert mnist.train_labels.dtype == np.int64
    assert mnist.classes == tuple("0123456789")


def test_fashion_mnist_has_own_folder_and_classes(root: Path, cache: Path) -> None:
    write_mnist(root / "FashionMNIST" / "raw", noise(10, 28, 28), noise(10, 28, 28))
    assert load(DatasetConfig(name="fashion_mnist"), root, cache).classes[-1] == "Ankle boot"


def test_cifar10_reads_batches_of_python_2(root: Path, cache: Path) -> None:
    images = noise(6, 300, 3, 32, 32)
    write_cifar10(root / "cifar-10-batches-py", images)
    cifar10 = load(DatasetConfig(name="cifar10"), root, cache)
    assert np.array_equal(cifar10.train_images, images[:5].reshape(-1, 3, 32, 32))
    assert np.array_equal(cifar10.test_images, images[5])
    assert np.array_equal(cifar10.test_labels, np.resize(TEN, 300))


def test_parquet_keeps_row_order_and_class_names(root: Path, cache: Path) -> None:
    train, test = noise(30, 32, 32, 3), noise(10, 32, 32, 3, seed=1)
    names = [f"class {i}" for i in TEN]
    write_parquet(root / "cifar10" / "train.parquet", train, np.resize(TEN, 30), names)
    write_parquet(root / "cifar10" / "test.parquet", test, TEN[::-1], names)
    cifar10 = load(DatasetConfig(name="cifar10"), root, cache)
    assert np.array_equal(cifar10.train_images, train.transpose(0, 3, 1, 2))
    assert np.array_equal(cifar10.test_images, test.transpose(0, 3, 1, 2))
    assert np.array_equal(cifar10.test_labels, TEN[::-1])
    assert cifar10.classes == tuple(names)


@pytest.mark.parametrize("folder", ["cifar10", "cifar10/data"])
def test_parquet_reads_shards_by_name(root: Path, cache: Path, folder: str) -> None:
    train = noise(20, 32, 32, 3)
    for i, rows in enumerate((train[:10], train[10:])):
        write_parquet(root / folder / f"train-{i:05}-of-00002.parquet", rows, TEN, column="img")
    write_parquet(root / folder / "test-00000-of-00001.parquet", train[:10], TEN, column="img")
    cifar10 = load(DatasetConfig(name="cifar10"), root, cache)
    assert np.array_equal(cifar10.train_images, train.transpose(0, 3, 1, 2))
    assert cifar10.classes[0] == "airplane"


def test_find_prefers_parquet_and_the_data_folder(root: Path, cache: Path) -> None:
    write_mnist(cache / "data" / "MNIST" / "raw", np.full((10, 28, 28), 1), np.full((10, 28, 28), 1))
    assert load(DatasetConfig(name="mnist"), root, cache).train_images.max() == 1
    write_mnist(root / "MNIST" / "raw", np.full((10, 28, 28), 2), np.full((10, 28, 28), 2))
    assert load(DatasetConfig(name="mnist"), root, cache).train_images.max() == 2
    for part in ("train", "test"):
        write_parquet(root / "mnist" / f"{part}.parquet", np.full((10, 28, 28), 3, np.uint8), TEN)
    assert load(DatasetConfig(name="mnist"), root, cache).train_images.max() == 3


def test_load_takes_folders_from_the_environment(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_mnist(root / "MNIST" / "raw", noise(10, 28, 28), noise(10, 28, 28))
    monkeypatch.setenv("TUNER_DATA", str(root))
    monkeypatch.setenv("TUNER_CACHE", str(tmp_path / "one"))
    assert load(DatasetConfig(name="mnist")).folder.is_relative_to(tmp_path / "one")
    monkeypatch.delenv("TUNER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "two"))
    assert load(DatasetConfig(name="mnist")).folder.is_relative_to(tmp_path / "two" / "tuner")


def test_download_failure_tells_where_files_belong(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision import datasets

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(datasets.MNIST, "mirrors", ["http://127.0.0.1:9/"])  # where nothing listens
    message = refusal(root, cache, name="mnist")
    for part in ("mnist: not in ", str(root), "mnist/train.parquet", "MNIST/raw", "search_spaces/digits.yaml"):
        assert part in message
    assert not list((cache / "data").glob("MNIST")) + list((cache / "data").glob("*.download"))


@pytest.mark.slow
def test_download_happens_once_into_the_cache(
    root: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision import datasets

    write_mnist(tmp_path / "served", noise(20, 28, 28), noise(10, 28, 28))
    resources = []
    for path in sorted((tmp_path / "served").iterdir()):
        packed = path.with_name(f"{path.name}.gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        resources.append((packed.name, hashlib.md5(packed.read_bytes()).hexdigest()))
    asked = []

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=tmp_path / "served")) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(datasets.MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/"])
        monkeypatch.setattr(datasets.MNIST, "resources", resources)
        mnist = load(DatasetConfig(name="mnist"), root, cache)
        requests = len(asked)
        again = load(DatasetConfig(name="mnist"), root, cache)
        server.shutdown()
    assert np.array_equal(mnist.train_images[:, 0], noise(20, 28, 28))
    assert again.fingerprint == mnist.fingerprint
    assert len(asked) == requests >= 4
    assert not list((cache / "data").glob("*.download"))


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", pytest.param("cifar10", marks=pytest.mark.slow)])
def test_real_data_sets_match_the_registry(name: str, cache: Path) -> None:
    root = Path(os.environ.get("TUNER_DATA", "nowhere"))
    if not any((root / place).is_dir() for place in (name, FOLDERS[name])):
        pytest.skip("needs TUNER_DATA, a folder that holds this data set")
    dataset, known = load(DatasetConfig(name=name), root, cache), DATASETS[name]
    assert dataset.train_images.shape == (known.train, known.channels, known.size, known.size)
    assert dataset.test_images.shape == (known.test, known.channels, known.size, known.size)
    ones = 1135 if name == "mnist" else 1000
    assert np.bincount(dataset.test_labels)[1] == ones
    brightness = {"mnist": 0.1307, "fashion_mnist": 0.2860, "cifar10": 0.4734}[name]  # published means of the images
    assert abs(dataset.train_images.mean() / 255 - brightness) < 0.002


# --- a user's own images


def test_folder_is_read_class_by_class(root: Path, cache: Path) -> None:
    train = write_folder(root / "shapes", "train", ["circle", "square"], 3, 12, 12, 3)
    test = write_folder(root / "shapes", "test", ["circle", "square"], 2, 12, 12, 3)
    shapes = load(DatasetConfig(name=str(root / "shapes")), None, cache)
    assert (shapes.name, shapes.classes, shapes.image_size) == ("shapes", ("circle", "square"), 12)
    assert np.array_equal(shapes.train_images, train.transpose(0, 3, 1, 2))
    assert np.array_equal(shapes.test_images, test.transpose(0, 3, 1, 2))
    assert shapes.train_labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_folder_without_test_holds_out_a_fifth(root: Path, cache: Path) -> None:
    images = write_folder(root / "shapes", "train", ["a", "b", "c"], 20, 6, 6)
    shapes = load(DatasetConfig(name=str(root / "shapes")), None, cache)
    assert np.bincount(shapes.test_labels).tolist() == [4, 4, 4]
    assert np.bincount(shapes.train_labels).tolist() == [16, 16, 16]
    everything = {image.tobytes() for image in (*shapes.train_images, *shapes.test_images)}
    assert everything == {image.tobytes() for image in images}
    again = load(DatasetConfig(name=str(root / "shapes"), split_seed=5), None, root / "other cache")
    assert np.array_equal(again.test_images, shapes.test_images)


def test_folder_is_rgb_if_one_image_is(root: Path, cache: Path) -> None:
    gray = write_folder(root / "shapes", "train", ["a", "b"], 5, 6, 6)
    write_folder(root / "shapes", "test", ["a", "b"], 2, 6, 6)
    assert load(DatasetConfig(name=str(root / "shapes")), None, cache).in_channels == 1
    write_png(root / "shapes" / "test" / "a" / "0.png", noise(1, 6, 6, 3)[0])
    colored = load(DatasetConfig(name=str(root / "shapes")), None, cache)
    assert colored.in_channels == 3
    assert np.array_equal(colored.train_images, np.repeat(gray[:, None], 3, axis=1))
    assert np.array_equal(colored.test_images[0], noise(1, 6, 6, 3)[0].transpose(2, 0, 1))


def test_folder_resizes_images_of_several_sizes(root: Path, cache: Path) -> None:
    write_folder(root / "shapes", "train", ["a", "b"], 5, 6, 6)
    large = noise(1, 20, 30, 3)[0]
    write_png(root / "shapes" / "train" / "a" / "0.png", large)
    shapes = load(DatasetConfig(name=str(root / "shapes"), image_size=8), None, cache)
    assert shapes.image_size == 8
    expected = np.asarray(Image.fromarray(large).resize((8, 8), Image.Resampling.BILINEAR)).transpose(2, 0, 1)
    everything = (*shapes.train_images, *shapes.test_images)
    assert sum(np.array_equal(image, expected) for image in everything) == 1


def test_named_data_set_is_resized(cache: Path) -> None:
    small = load(DatasetConfig(name="digits"), None, cache)
    large = load(DatasetConfig(name="digits", image_size=16), None, cache)
    expected = np.asarray(Image.fromarray(small.train_images[3, 0]).resize((16, 16), Image.Resampling.BILINEAR))
    assert large.train_images.shape == (1437, 1, 16, 16)
    assert np.array_equal(large.train_images[3, 0], expected)
    assert small.image_size == 8


def test_find_resolves_relative_paths_in_order(
    root: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_folder(root / "shapes", "train", ["far", "away"], 5, 6, 6)
    assert load(DatasetConfig(name="shapes"), root, cache).classes == ("away", "far")
    write_folder(tmp_path / "shapes", "train", ["here", "near"], 5, 6, 6)
    assert load(DatasetConfig(name="shapes"), root, cache).classes == ("here", "near")


def test_find_takes_parquet_patterns_and_test(root: Path, cache: Path) -> None:
    images = noise(12, 6, 6)
    write_parquet(root / "own-1.parquet", images[:6], [0, 1] * 3)
    write_parquet(root / "own-2.parquet", images[6:], [1, 0] * 3)
    write_parquet(root / "kept.parquet", images[:2], [0, 1])
    own = load(DatasetConfig(name="own-*.parquet", test="kept.parquet"), root, cache)
    assert np.array_equal(own.train_images[:, 0], images)
    assert own.train_labels.tolist() == [0, 1] * 3 + [1, 0] * 3
    assert own.classes == ("0", "1")
    assert len(own.test_labels) == 2


def test_parquet_folder_needs_no_test_file(root: Path, cache: Path) -> None:
    write_parquet(root / "own" / "train.parquet", noise(20, 6, 6), [0, 1] * 10, ["no", "yes"])
    own = load(DatasetConfig(name=str(root / "own")), None, cache)
    assert (own.name, own.classes, len(own.test_labels)) == ("own", ("no", "yes"), 4)


def test_parquet_reads_a_column_of_bytes(root: Path, cache: Path) -> None:
    images = noise(10, 6, 6)
    table = pa.table({"image": [png(image) for image in images], "label": pa.array([0, 1] * 5, pa.int8())})
    for name in ("own", "kept"):
        pq.write_table(table, root / f"{name}.parquet")
    own = load(DatasetConfig(name="own.parquet", test="kept.parquet"), root, cache)
    assert np.array_equal(own.train_images[:, 0], images)


def test_find_takes_folders_of_known_names(root: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(root)
    write_folder(root / "mnist", "train", ["a", "b"], 5, 6, 6)
    assert load(DatasetConfig(name="./mnist"), None, cache).image_size == 6


# --- refusals


def test_find_refuses_unknown_names_with_nearest(root: Path, cache: Path) -> None:
    message = refusal(root, cache, name="cifr10")
    assert "'cifr10'" in message
    assert "did you mean 'cifar10'?" in message


@pytest.mark.parametrize("kept", [3, 15, 16, 5000, 28 * 28 * 10 + 15])
def test_idx_refuses_a_truncated_file(root: Path, cache: Path, kept: int) -> None:
    write_mnist(root / "MNIST" / "raw", noise(10, 28, 28), noise(10, 28, 28))
    path = root / "MNIST" / "raw" / "train-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:kept])
    assert str(path) in refusal(root, cache, name="mnist")


def test_idx_refuses_trailing_bytes(root: Path, cache: Path) -> None:
    write_mnist(root / "MNIST" / "raw", noise(10, 28, 28), noise(10, 28, 28))
    path = root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    path.write_bytes(path.read_bytes() + b"\0")
    assert refusal(root, cache, name="mnist").startswith(f"{path}: truncated or too long: 19 bytes")


def test_idx_refuses_labels_that_do_not_fit(root: Path, cache: Path) -> None:
    raw = root / "MNIST" / "raw"
    write_mnist(raw, noise(10, 28, 28), noise(10, 28, 28))
    write_idx(raw / "train-labels-idx1-ubyte", TEN[:9])
    assert "9 labels for 10 images" in refusal(root, cache, name="mnist")
    write_idx(raw / "train-labels-idx1-ubyte", TEN + 1)
    assert "label 10 of image 9; allowed: 0 to 9" in refusal(root, cache, name="mnist")


def test_torchvision_names_the_missing_file(root: Path, cache: Path) -> None:
    write_mnist(root / "MNIST" / "raw", noise(10, 28, 28), noise(10, 28, 28))
    (root / "MNIST" / "raw" / "t10k-images-idx3-ubyte").unlink()
    assert refusal(root, cache, name="mnist").startswith(
        f"{root / 'MNIST' / 'raw' / 't10k-images-idx3-ubyte'}: missing"
    )
    write_parquet(root / "cifar10" / "train.parquet", noise(10, 32, 32, 3), TEN)
    assert "no test.parquet" in refusal(root, cache, name="cifar10")


def test_load_refuses_other_images_under_known_names(root: Path, cache: Path) -> None:
    write_mnist(root / "MNIST" / "raw", noise(10, 20, 20), noise(10, 20, 20))
    assert "(1, 20, 10), but mnist has (1, 28, 10)" in refusal(root, cache, name="mnist")


def test_cifar10_refuses_a_truncated_batch(root: Path, cache: Path) -> None:
    write_cifar10(root / "cifar-10-batches-py", noise(6, 300, 3, 32, 32))
    path = root / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-500])
    assert refusal(root, cache, name="cifar10").startswith(f"{path}: truncated, or no batch")


def test_cifar10_refuses_a_batch_with_code(root: Path, cache: Path, tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "harm"),)

    write_cifar10(root / "cifar-10-batches-py", noise(6, 300, 3, 32, 32))
    (root / "cifar-10-batches-py" / "test_batch").write_bytes(pickle.dumps({"data": Harmful(), "labels": []}))
    assert "mkdir" in refusal(root, cache, name="cifar10")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("kept", [0, 10, 400])
def test_parquet_refuses_a_truncated_file(root: Path, cache: Path, kept: int) -> None:
    path = root / "own.parquet"
    write_parquet(path, noise(10, 6, 6), [0, 1] * 5)
    path.write_bytes(path.read_bytes()[:kept])
    assert refusal(root, cache, name=str(path)).startswith(f"{path}: no readable Parquet file")


def test_parquet_refuses_damaged_pages(root: Path, cache: Path) -> None:
    path = root / "own.parquet"
    write_parquet(path, noise(50, 6, 6), [0, 1] * 25)
    content = path.read_bytes()
    path.write_bytes(content[:4] + bytes(len(content) // 2) + content[4 + len(content) // 2 :])
    assert refusal(root, cache, name=str(path)).startswith(f"{path}: ")


def test_parquet_names_missing_and_found_columns(root: Path, cache: Path) -> None:
    write_parquet(root / "a.parquet", noise(4, 6, 6), [0, 1, 0, 1], column="picture")
    assert "no column 'image' or 'img'; its columns: picture, label" in refusal(root, cache, name="a.parquet")
    write_parquet(root / "b.parquet", noise(4, 6, 6), [0, 1, 0, 1], label_column="y")
    assert "no column 'label'; its columns: image, y" in refusal(root, cache, name="b.parquet")


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())], ids=str)
def test_parquet_labels_may_be_text(root: Path, cache: Path, kind: pa.DataType) -> None:
    images = noise(30, 6, 6)
    texts = ["zebra", "caf\u00e9", "cafe\u0301"]  # the last two are one name
    write_parquet(root / "t.parquet", images[:24], [texts[i % 3] for i in range(24)], label_type=kind)
    write_parquet(root / "e.parquet", images[24:], [texts[i % 3] for i in range(6)], label_type=kind)
    dataset = load(DatasetConfig(name="t.parquet", test="e.parquet"), root, cache)
    assert dataset.classes == ("caf\u00e9", "zebra")
    assert dataset.train_labels.tolist() == [1, 0, 0] * 8
    assert dataset.test_labels.tolist() == [1, 0, 0] * 2


def test_parquet_text_labels_that_are_numbers_stay_in_order(root: Path, cache: Path) -> None:
    write_parquet(root / "t.parquet", noise(30, 6, 6), ["10", "9", "2"] * 10, label_type=pa.string())
    assert load(DatasetConfig(name="t.parquet"), root, cache).classes == ("2", "9", "10")


def test_parquet_columns_may_be_named(root: Path, cache: Path) -> None:
    images = noise(20, 6, 6)
    write_parquet(root / "a.parquet", images, [0, 1] * 10, column="scan.png", label_column="finding")
    wanted = DatasetConfig(name="a.parquet", image="scan.png", label="finding")
    dataset = load(wanted, root, cache)
    assert len(dataset.train_labels) + len(dataset.test_labels) == 20
    both = np.concatenate([dataset.train_images, dataset.test_images])[:, 0]
    assert {each.tobytes() for each in both} == {each.tobytes() for each in images}
    table = pq.read_table(root / "a.parquet")
    pq.write_table(table.append_column("other", [[1, 0] * 10]), root / "a.parquet")
    first, second = (load(wanted.model_copy(update={"label": name}), root, cache) for name in ("finding", "other"))
    assert first.fingerprint != second.fingerprint
    assert (first.train_labels[:] != second.train_labels[:]).any()


def test_named_columns_are_refused_where_none_are(root: Path, cache: Path) -> None:
    write_parquet(root / "a.parquet", noise(4, 6, 6), [0, 1, 0, 1])
    assert "no column 'scan'; its columns: image, label" in refusal(root, cache, name="a.parquet", image="scan")
    assert "no column 'y'; its columns: image, label" in refusal(root, cache, name="a.parquet", label="y")
    assert "dataset.label: found 'y'; only with Parquet" in refusal(root, cache, name="digits", label="y")
    write_folder(root / "own", "train", ["a", "b"], 4, 6, 6)
    assert "dataset.image: found 'x'; only with Parquet" in refusal(root, cache, name="own", image="x")


def test_parquet_refuses_text_beside_numbers(root: Path, cache: Path) -> None:
    write_parquet(root / "a.parquet", noise(4, 6, 6), [0, 1, 0, 1])
    write_parquet(root / "b.parquet", noise(4, 6, 6), ["0", "1"] * 2, label_type=pa.string())
    said = refusal(root, cache, name="a.parquet", test="b.parquet")
    assert "b.parquet: column 'label' is text, but numbers in" in said
    write_parquet(root / "c.parquet", noise(4, 6, 6), ["x", None, "y", "x"], label_type=pa.string())
    assert "c.parquet: row 1: no value in column 'label'" in refusal(root, cache, name="c.parquet")


def test_parquet_refuses_columns_of_another_type(root: Path, cache: Path) -> None:
    write_parquet(root / "a.parquet", noise(2, 6, 6), [0.5, 1.5], label_type=pa.float32())
    assert "column 'label' is float; allowed: integers" in refusal(root, cache, name="a.parquet")
    pq.write_table(pa.table({"image": ["a.png"], "label": [0]}), root / "b.parquet")
    assert "column 'image' is string" in refusal(root, cache, name="b.parquet")


@pytest.mark.parametrize(
    ("labels", "names", "complaint"),
    [
        ([0, -1, 1], None, "row 1: label -1; allowed: 0, 1, 2"),
        ([0, 1, None], None, "row 2: label None"),
        ([0, 1, 3], None, "label 2 never occurs, 3 does"),
        ([1, 2, 3], None, "label 0 never occurs"),
        ([0, 2, 1], ["a", "b"], "row 1: label 2; allowed: 0 to 1"),
        ([0, 0, 0], None, "one class"),
    ],
)
def test_parquet_refuses_labels_out_of_range(
    root: Path, cache: Path, labels: list[int | None], names: list[str] | None, complaint: str
) -> None:
    write_parquet(root / "own.parquet", noise(3, 6, 6), labels, names)
    assert complaint in refusal(root, cache, name="own.parquet")


def test_parquet_refuses_classes_of_test_only(root: Path, cache: Path) -> None:
    write_parquet(root / "own.parquet", noise(3, 6, 6), [0, 1, 0])
    write_parquet(root / "kept.parquet", noise(3, 6, 6), [0, 1, 2])
    message = refusal(root, cache, name="own.parquet", test="kept.parquet")
    assert message == f"{root / 'kept.parquet'}: row 2: label 2; allowed: 0 to 1"


def test_parquet_refuses_missing_images(root: Path, cache: Path) -> None:
    write_parquet(root / "a.parquet", [], [])
    assert refusal(root, cache, name="a.parquet").endswith("a.parquet: holds no images")
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    cells = pa.array([{"bytes": None, "path": "x.png"}], kind)
    pq.write_table(pa.table({"image": cells, "label": [0]}), root / "b.parquet")
    assert refusal(root, cache, name="b.parquet").startswith(
        f"{root}/b.parquet: row 0: no bytes of an image; allowed: "
    )


def test_parquet_refuses_a_missing_shard(root: Path, cache: Path) -> None:
    write_parquet(root / "own" / "train-00001-of-00003.parquet", noise(4, 6, 6), [0, 1, 0, 1])
    assert "one of 3 files, 1 found" in refusal(root, cache, name="own")


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["train-00000-of-00002-b42a775f407cee45"], "one of 2 files, 1 found beside it; number 1 is missing"),
        (["train-00001-of-00002-b42a775f407cee45"], "number 0 is missing: download it"),
        (
            ["train-00000-of-00002-aa", "train-00001-of-00002-aa", "train-00001-of-00002-bb"],
            "the same number as train-",
        ),
        (["train-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"], "one of 2 files, but train-"),
        (["train-00000-of-00001", "train-more"], "train-more.parquet: no numbered file as train-00000-of-00001"),
        (["train-00000-of-00001", "train-00000-of-00001 (1)"], "00001 (1).parquet: no numbered file"),
    ],
)
@pytest.mark.parametrize("asked", ["{}", "{}/train-*.parquet"])
def test_parquet_refuses_partial_and_mixed_downloads(
    root: Path, cache: Path, names: list[str], complaint: str, asked: str
) -> None:
    for name in names:
        write_parquet(root / "own" / f"{name}.parquet", noise(4, 6, 6), [0, 1, 0, 1])
    assert complaint in refusal(root, cache, name=asked.format("own"))


def test_parquet_reads_shards_with_hashes(root: Path, cache: Path) -> None:
    images = noise(12, 6, 6)
    for i, content in enumerate(("b42a775f407cee45", "0aa1")):
        path = root / "own" / "data" / f"train-0000{i}-of-00002-{content}.parquet"
        write_parquet(path, images[6 * i : 6 * i + 6], [0, 1] * 3)
    write_parquet(root / "own" / "data" / "test-00000-of-00001-cc.parquet", images[:2], [0, 1])
    own = load(DatasetConfig(name="own"), root, cache)
    assert np.array_equal(own.train_images[:, 0], images)
    some = load(DatasetConfig(name="own/data/train-00000-*.parquet", test="own/data/test-*.parquet"), root, cache)
    assert len(some.train_labels) == 6  # because no other number was asked for


# --- class names and labels of Parquet files


def test_parquet_brings_class_names_into_one_order(root: Path, cache: Path) -> None:
    images = noise(12, 6, 6)
    write_parquet(root / "own" / "train-00000-of-00002.parquet", images[:6], [0, 1, 2] * 2, ["ant", "bee", "cat"])
    write_parquet(root / "own" / "train-00001-of-00002.parquet", images[6:], [0, 1, 2] * 2, ["cat", "ant", "bee"])
    write_parquet(root / "own" / "test-00000-of-00001.parquet", images[:3], [0, 1, 2], ["bee", "cat", "ant"])
    own = load(DatasetConfig(name="own"), root, cache)
    assert own.classes == ("ant", "bee", "cat")
    assert own.train_labels.tolist() == [0, 1, 2] * 2 + [2, 0, 1] * 2
    assert own.test_labels.tolist() == [1, 2, 0]


def test_parquet_takes_class_names_of_any_file(root: Path, cache: Path) -> None:
    write_parquet(root / "own" / "train.parquet", noise(4, 6, 6), [0, 1, 0, 1])
    write_parquet(root / "own" / "test.parquet", noise(2, 6, 6), [0, 1], ["ant", "bee"])
    assert load(DatasetConfig(name="own"), root, cache).classes == ("ant", "bee")


@pytest.mark.parametrize(
    ("names", "complaint"),
    [
        (["ant"], "no class 'bee', which the first file of the data set names"),
        (["ant", "bee", "cat"], "class 'cat', which the first file of the data set does not name"),
        (["ant", "Bee"], "class 'Bee' (spelled 'bee' there), which"),
        (["ant", "ant"], "2 classes are named 'ant'; allowed: each name once"),
        (["ant", "b\x1b[1mee"], "class 'b\\x1b[1mee'; allowed: names of characters that can be printed"),
    ],
)
def test_parquet_refuses_other_class_names(root: Path, cache: Path, names: list[str], complaint: str) -> None:
    write_parquet(root / "own" / "train.parquet", noise(4, 6, 6), [0, 1, 0, 1], ["ant", "bee"])
    write_parquet(root / "own" / "test.parquet", noise(2, 6, 6), [0, 0], names)
    message = refusal(root, cache, name="own")
    assert message.startswith(f"{root / 'own' / 'test.parquet'}: ")
    assert complaint in message


def test_parquet_joins_composed_and_decomposed_names(root: Path, cache: Path) -> None:
    write_parquet(root / "own" / "train.parquet", noise(4, 6, 6), [0, 1, 0, 1], ["caf\u00e9", "tea"])
    write_parquet(root / "own" / "test.parquet", noise(2, 6, 6), [0, 1], ["tea", "cafe\u0301"])
    assert load(DatasetConfig(name="own"), root, cache).test_labels.tolist() == [1, 0]


@pytest.mark.parametrize(("train", "test"), [([0, 1, 0, 1], [0, 1, 2]), ([0, 1, 2, 2], [0, 1, 1])])
def test_parquet_tells_a_class_without_images(root: Path, cache: Path, train: list[int], test: list[int]) -> None:
    names = ["ant", "bee", "cat"]
    write_parquet(root / "own" / "train.parquet", noise(len(train), 6, 6), train, names)
    write_parquet(root / "own" / "test.parquet", noise(len(test), 6, 6), test, names)
    part = "test" if 2 in train else "training"
    assert refusal(root, cache, name="own") == (
        f"{root / 'own'}: no {part} image of class 'cat'; allowed: one of each class"
    )


@pytest.mark.parametrize(
    ("kind", "labels"),
    [(pa.float64(), [0.0, 1.0]), (pa.bool_(), [False, True]), (pa.decimal128(3), [0, 1])],
)
def test_parquet_refuses_labels_that_are_no_integers(
    root: Path, cache: Path, kind: pa.DataType, labels: list[object]
) -> None:
    write_parquet(root / "own.parquet", noise(2, 6, 6), labels, label_type=kind)
    assert f"column 'label' is {kind}; allowed: integers, one for each" in refusal(root, cache, name="own.parquet")


def test_parquet_refuses_labels_beyond_any_array(root: Path, cache: Path) -> None:
    write_parquet(root / "own.parquet", noise(2, 6, 6), [0, 2**63], label_type=pa.uint64())
    assert "row 1: label 9223372036854775808; allowed: 0, 1, 2" in refusal(root, cache, name="own.parquet")


def test_parquet_refuses_columns_of_one_name(root: Path, cache: Path) -> None:
    cells = pa.array([png(image) for image in noise(2, 6, 6)])
    labels = pa.array([0, 1])
    pq.write_table(pa.Table.from_arrays([cells, labels, labels], ["image", "label", "label"]), root / "own.parquet")
    assert "2 columns 'label'; allowed: each name once" in refusal(root, cache, name="own.parquet")


# --- paths


@pytest.mark.parametrize("folder", ["my [1] set", "a*b", "what?", "#1 a", "a b"])
def test_find_takes_patterns_below_odd_folders(root: Path, cache: Path, folder: str) -> None:
    for i in range(3):
        write_parquet(root / folder / f"part-{i}.parquet", noise(4, 6, 6, seed=i), [0, 1, 0, 1])
    own = load(DatasetConfig(name=f"{folder}/part-[01].parquet", test=f"{folder}/part-[2].parquet"), root, cache)
    assert (len(own.train_labels), len(own.test_labels)) == (8, 4)
    below = load(DatasetConfig(name="part-[01].parquet", test="part-2.parquet"), root / folder, cache)
    assert below.fingerprint == own.fingerprint


def test_find_refuses_test_files_to_train_on(root: Path, cache: Path) -> None:
    for name in ("one", "two"):
        write_parquet(root / f"{name}.parquet", noise(4, 6, 6), [0, 1, 0, 1])
    (root / "link.parquet").symlink_to(root / "two.parquet")
    for test in ("two.parquet", "t*.parquet", "link.parquet"):
        message = refusal(root, cache, name="*.parquet", test=test)
        assert message.startswith("dataset.test: ")
        assert message.endswith(".parquet is a file of training images too; allowed: other files")


def test_parquet_counts_files_left_out(root: Path, cache: Path) -> None:
    for part in ("train", "test", "dev"):
        write_parquet(root / "own" / f"{part}.parquet", noise(4, 6, 6), [0, 1, 0, 1])
    with pytest.warns(UserWarning, match=r"own: number of Parquet files left out: 1 \(dev\.parquet\); only"):
        load(DatasetConfig(name="own"), root, cache)


def test_parquet_refuses_a_part_in_two_places(root: Path, cache: Path) -> None:
    for name in ("train", "train-00000-of-00001"):
        write_parquet(root / "own" / f"{name}.parquet", noise(4, 6, 6), [0, 1, 0, 1])
    path = root / "own" / "train-00000-of-00001.parquet"
    assert refusal(root, cache, name="own") == f"{path}: the train images are also in train.parquet; keep one of them"


def test_parquet_refuses_names_that_are_not_utf8(root: Path, cache: Path) -> None:
    write_parquet(root / "own.parquet", noise(2, 6, 6), [0, 1])
    (root / "own.parquet").rename(root / b"\xff.parquet".decode("utf-8", "surrogateescape"))
    message = refusal(root, cache, name="*.parquet")
    assert message == f"{root}/\\udcff.parquet: its name is not UTF-8; rename the file or folder"


def test_find_refuses_unknown_users_and_long_names(root: Path, cache: Path) -> None:
    assert "no data set, folder or file '~nobody-here/x'" in refusal(root, cache, name="~nobody-here/x")
    assert "\n" not in refusal(root, cache, name="x" * 300 + ".parquet")
    nobody = Path("~nobody-here/x")
    expected = f"{nobody}: no such user; allowed: a path without a name after '~'"
    assert refusal(nobody, cache, name="digits") == refusal(root, nobody, name="digits") == expected


def test_find_refuses_a_wrong_test_pattern(root: Path, cache: Path) -> None:
    write_parquet(root / "own.parquet", noise(4, 6, 6), [0, 1, 0, 1])
    write_folder(root / "shapes", "train", ["a", "b"], 5, 6, 6)
    assert refusal(root, cache, name="own.parquet", test="gone-*.parquet") == "dataset.test: no file 'gone-*.parquet'"
    assert "only beside a Parquet file" in refusal(root, cache, name="shapes", test="own.parquet")
    assert "digits has test images of its own" in refusal(root, cache, name="digits", test="own.parquet")


def test_decode_refuses_a_truncated_image(root: Path, cache: Path) -> None:
    write_folder(root / "shapes", "train", ["a", "b"], 5, 60, 60)
    path = root / "shapes" / "train" / "b" / "3.png"
    for kept in (0, 20, 1000):
        path.write_bytes(png(noise(1, 60, 60)[0])[:kept])
        assert refusal(root, cache, name="shapes").startswith(f"{path}: no readable image")


def test_stack_refuses_images_of_several_sizes(root: Path, cache: Path) -> None:
    write_folder(root / "shapes", "train", ["a", "b"], 5, 6, 6)
    write_png(root / "shapes" / "train" / "b" / "2.png", noise(1, 6, 9)[0])
    message = refusal(root, cache, name="shapes")
    assert message.startswith(f"{root / 'shapes' / 'train' / 'b' / '2.png'}: 9x6 pixels, but ")
    assert "a/0.png has 6x6; dataset.image_size" in message


def test_load_refuses_other_sizes_and_rectangles(root: Path, cache: Path) -> None:
    write_folder(root / "shapes", "train", ["a", "b"], 5, 6, 6)
    write_folder(root / "shapes", "test", ["a", "b"], 5, 8, 8)
    assert "training images of 6x6 pixels, test images of 8x8" in refusal(root, cache, name="shapes")
    write_folder(root / "wide", "train", ["a", "b"], 5, 6, 8)
    assert "images of 8x6 pixels; allowed: squares" in refusal(root, cache, name="wide")


def test_folder_refuses_empty_folders(root: Path, cache: Path) -> None:
    (root / "bare").mkdir()
    assert "neither train.parquet nor train/<class>/" in refusal(root, cache, name="bare")
    (root / "bare" / "train").mkdir()
    assert refusal(root, cache, name="bare").startswith(f"{root / 'bare' / 'train'}: empty")
    (root / "bare" / "train" / "a").mkdir()
    assert refusal(root, cache, name="bare").startswith(f"{root / 'bare' / 'train' / 'a'}: holds no image")


def test_folder_refuses_classes_of_one_part(root: Path, cache: Path) -> None:
    write_folder(root / "shapes", "train", ["a", "b"], 5, 6, 6)
    write_folder(root / "shapes", "test", ["a"], 5, 6, 6)
    assert refusal(root, cache, name="shapes") == f"{root / 'shapes' / 'test'}: no class 'b', which train has"


def test_load_refuses_classes_too_small(root: Path, cache: Path) -> None:
    write_folder(root / "shapes", "train", ["a", "b"], 9, 6, 6)
    write_folder(root / "shapes", "train", ["rare"], 1, 6, 6)
    assert "too few images of class 'rare'" in refusal(root, cache, name="shapes")


def test_load_names_an_unwritable_cache(root: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="file") as caught:
        load(DatasetConfig(name="digits"), root, tmp_path / "file")
    assert "\n" not in str(caught.value)
