"""Files of images that the world has: names, links, metadata, and what they hold."""

import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageDraw

from tests.support.image_files import noise, png, write_folder, write_png
from tests.support.image_formats import each_format
from tuner.config.dataset import DatasetConfig
from tuner.data import load
from tuner.data.decoding import FORMATS, decode
from tuner.data.formats.image_folder import layout
from tuner.errors import DataError

ORIENTATION = 0x0112
STRIPES = np.uint8([[0, 0, 0, 0], [80, 80, 80, 80], [160, 160, 160, 160], [250, 250, 250, 90]])


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def shown(content: bytes) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # because Pillow warns of odd metadata
        return decode(content, "x", None).pixels


def refusal(content: bytes) -> str:
    with pytest.raises(DataError) as caught:
        shown(content)
    assert str(caught.value).startswith("x: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def hand_made_png(width: int, height: int, depth: int, color: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of a depth that Pillow does not write."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    extra = b"".join(chunk(*each) for each in chunks)
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def deep_color(pixels: np.ndarray) -> bytes:
    """A PNG of 16 bits per channel, (H, W, 3) or (H, W, 4)."""
    height, width, channels = pixels.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return hand_made_png(width, height, 16, {3: 2, 4: 6}[channels], rows)


# --- orientation


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "AVIF"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_decode_applies_each_orientation(kind: str, turn: int) -> None:
    image = Image.fromarray(np.repeat(np.repeat(STRIPES[1:], 16, 0), 16, 1))
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    flipped = {1: [], 2: [0], 3: [3], 4: [1], 5: [5], 6: [4], 7: [6], 8: [2]}[turn]
    upright = image
    for transpose in flipped:
        upright = upright.transpose(Image.Transpose(transpose))
    found = shown(saved(image, kind, exif=exif))
    expected = np.asarray(upright if found.ndim == 2 else upright.convert("RGB"))
    assert found.shape == expected.shape
    assert np.abs(found.astype(int) - expected).max() < 12


def test_decode_applies_the_orientation_of_xmp() -> None:
    xmp = b'<x:xmpmeta xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/>'
    assert shown(saved(Image.new("RGB", (20, 10)), "JPEG", xmp=xmp)).shape == (20, 10, 3)


def test_folder_and_parquet_turn_images(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 3
    content = saved(Image.fromarray(STRIPES), "PNG", exif=exif)
    write_folder(tmp_path / "shapes", "train", ["a", "b"], 5, 4, 4)
    write_folder(tmp_path / "shapes", "test", ["a", "b"], 1, 4, 4)
    (tmp_path / "shapes" / "train" / "a" / "0.png").write_bytes(content)
    shapes = load(DatasetConfig(name=str(tmp_path / "shapes")), None, tmp_path / "cache")
    assert np.array_equal(shapes.train_images[0, 0], STRIPES[::-1, ::-1])
    cells = pa.array([{"bytes": content, "path": None}] * 2)
    for part in ("train", "test"):
        pq.write_table(pa.table({"image": cells, "label": [0, 1]}), tmp_path / f"{part}.parquet")
    own = load(DatasetConfig(name=str(tmp_path)), None, tmp_path / "cache")
    assert np.array_equal(own.train_images[1, 0], STRIPES[::-1, ::-1])


# --- transparency


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P"])
def test_decode_lays_transparent_pixels_on_white(mode: str) -> None:
    icon = Image.new("RGBA", (16, 16), (0, 0, 0, 0))
    ImageDraw.Draw(icon).rectangle((4, 4, 11, 11), (0, 0, 0, 255))
    if mode == "PA":
        plain = icon.convert("RGB").quantize(2)
        plain.putalpha(icon.getchannel("A"))
        content = saved(plain, "TIFF")
    else:
        content = saved(icon.quantize(2) if mode == "P" else icon.convert(mode), "PNG")
    pixels = shown(content)
    assert pixels[0].min() == 255
    assert pixels[6, 6].max() == 0


def test_decode_keeps_opaque_images_as_they_are() -> None:
    pixels = noise(1, 6, 6, 4)[0]
    pixels[..., 3] = 255
    assert np.array_equal(shown(png(pixels)), pixels[..., :3])


def test_decode_refuses_white_on_transparent() -> None:
    pixels = np.full((6, 6, 4), 255, np.uint8)
    pixels[2:4, :, 3] = 0
    assert "white on transparent, which does not show on white; lay the images" in refusal(png(pixels))
    assert shown(png(np.zeros((6, 6, 4), np.uint8))).min() == 255  # where nothing is drawn, nothing is lost


@pytest.mark.parametrize(("depth", "key"), [(1, 1), (2, 1), (4, 3)])
def test_decode_finds_transparent_levels_of_few_bits(depth: int, key: int) -> None:
    rows = b"\0" + bytes([key << (8 - depth)])  # the level of the key, then black
    found = shown(hand_made_png(2, 1, depth, 0, rows, (b"tRNS", struct.pack(">H", key))))
    assert found.tolist() == [[255, 0]]


def test_decode_finds_transparent_levels_of_16_bits() -> None:
    rows = b"\0" + struct.pack(">2H", 1000, 60000)
    gray = hand_made_png(2, 1, 16, 0, rows, (b"tRNS", struct.pack(">H", 1000)))
    assert shown(gray).tolist() == [[255, 60000 >> 8]]
    color = hand_made_png(1, 1, 16, 2, b"\0" + struct.pack(">3H", 1, 2, 60000), (b"tRNS", struct.pack(">3H", 1, 2, 3)))
    assert "a transparent color of 16 bits; allowed: an alpha channel" in refusal(color)


# --- 16 bits


def test_decode_keeps_the_upper_bits_of_16() -> None:
    ramp = np.arange(0, 65536, 256, np.uint16).reshape(16, 16)
    expected = np.arange(256).reshape(16, 16)
    for kind in ("PNG", "TIFF", "PPM", "JPEG2000"):
        assert np.array_equal(shown(saved(Image.fromarray(ramp), kind)), expected), kind
    assert np.array_equal(shown(deep_color(np.stack([ramp] * 3, 2))), np.stack([expected] * 3, 2))


def test_decode_turns_white_is_zero_over() -> None:
    levels = np.uint16([[0, 65535], [1000, 30000]])
    content = saved(Image.fromarray(levels), "TIFF", tiffinfo={262: 0})
    assert np.array_equal(shown(content), (65535 - levels.astype(int)) >> 8)


@pytest.mark.parametrize("highest", [200, 4095, 16383])
def test_decode_refuses_few_levels_of_16_bits(highest: int) -> None:
    levels = np.linspace(0, highest, 256).astype(np.uint16).reshape(16, 16)
    allowed = "allowed: values that reach 16384 of 65535; rescale the images"
    assert allowed in refusal(saved(Image.fromarray(levels), "PNG"))
    assert allowed in refusal(deep_color(np.stack([levels] * 3, 2)))
    opaque = np.full_like(levels, 65535)
    assert allowed in refusal(deep_color(np.stack([levels, levels, levels, opaque], 2)))


def test_decode_keeps_black_images_of_16_bits() -> None:
    assert shown(saved(Image.fromarray(np.zeros((4, 4), np.uint16)), "PNG")).max() == 0


# --- broken files


@pytest.mark.parametrize("kind", each_format(FORMATS))
def test_decode_refuses_half_a_file(kind: str) -> None:
    mode = {"XBM": "1", "PCX": "L"}.get(kind, "RGB")
    image = Image.fromarray(noise(1, 64, 64, 3)[0]).convert(mode)
    content = saved(image, kind)
    assert shown(content).shape[:2] == (64, 64) or kind in ("ICO", "ICNS")
    assert "no readable image (" in refusal(content[: len(content) // 2])
    assert "no readable image (" in refusal(content[:10])
    assert refusal(b"") == "x: no readable image (it is empty)"


@pytest.mark.parametrize("kind", each_format(FORMATS))
def test_decode_refuses_or_shows_damaged_files(kind: str) -> None:
    mode = {"XBM": "1", "PCX": "L"}.get(kind, "RGB")
    content = saved(Image.fromarray(noise(1, 16, 16, 3)[0]).convert(mode), kind)
    draw = np.random.default_rng(0)
    for _ in range(15 if kind == "ICNS" else 150):  # because an ICNS holds ten icons
        damaged = bytearray(content)
        for _ in range(3):
            damaged[draw.integers(min(200, len(content)))] = draw.integers(256)
        try:
            assert shown(bytes(damaged)).dtype == np.uint8
        except DataError as error:
            assert "\n" not in str(error)  # noqa: PT017 because both ways are right
            assert " at 0x" not in str(error)  # noqa: PT017


def test_decode_tells_a_pointer_of_git_lfs() -> None:
    assert "`git lfs pull` fetches the image" in refusal(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n")


def test_decode_refuses_programs_for_printers() -> None:
    content = saved(Image.new("L", (9, 9)), "EPS")
    assert refusal(content) == "x: no readable image (broken, or of no known format)"


def test_decode_warns_once_of_further_frames(tmp_path: Path) -> None:
    frames = [Image.fromarray(pixels) for pixels in noise(3, 6, 6, 3)]
    write_folder(tmp_path / "shapes", "train", ["a", "b"], 5, 6, 6)
    write_folder(tmp_path / "shapes", "test", ["a", "b"], 1, 6, 6)
    first = tmp_path / "shapes" / "train" / "a" / "0.tif"
    for path in (first, first.with_name("1.tif")):
        frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.warns(UserWarning, match="the first of several frames or pages is used") as warned:
        shapes = load(DatasetConfig(name=str(tmp_path / "shapes")), None, tmp_path / "cache")
    assert [str(each.message) for each in warned] == [
        f"{first}: the first of several frames or pages is used; number of such files: 2"
    ]
    assert sum(np.array_equal(image, noise(1, 6, 6, 3)[0].transpose(2, 0, 1)) for image in shapes.train_images) == 2


def test_photos_with_previews_are_no_animations() -> None:
    first, preview = (Image.fromarray(pixels) for pixels in noise(2, 16, 16, 3))
    assert not decode(saved(first, "MPO", save_all=True, append_images=[preview]), "x", None).first_of_several


# --- names


@pytest.fixture
def shapes(tmp_path: Path) -> Path:
    """A folder of two classes, each with five training images and one test image."""
    write_folder(tmp_path / "shapes", "train", ["a", "b"], 5, 6, 6)
    write_folder(tmp_path / "shapes", "test", ["a", "b"], 1, 6, 6)
    return tmp_path / "shapes"


def counts(folder: Path) -> tuple[int, int]:
    opened = load(DatasetConfig(name=str(folder)), None, folder.parent / "cache")
    return len(opened.train_labels), len(opened.test_labels)


def folder_refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        counts(folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_folder_uses_images_of_subfolders(shapes: Path) -> None:
    for i, name in enumerate(("2024/may", "2024/june", "2025")):
        write_png(shapes / "train" / "a" / name / "0.png", noise(1, 6, 6, seed=9 + i)[0])
    assert counts(shapes) == (13, 2)


def test_folder_uses_endings_in_any_case(shapes: Path) -> None:
    for i, ending in enumerate(("PNG", "Jpg", "JPEG", "TIF", "jfif", "pnm", "AVIF")):
        kind = {"Jpg": "JPEG", "jfif": "JPEG", "TIF": "TIFF", "pnm": "PPM"}.get(ending, ending)
        content = saved(Image.fromarray(noise(1, 6, 6, seed=i)[0]), kind)
        (shapes / "train" / "b" / f"more.{ending}").write_bytes(content)
    assert counts(shapes) == (17, 2)


def test_folder_counts_what_is_left_out(shapes: Path) -> None:
    (shapes / "train" / "a" / "notes.txt").write_text("x")
    (shapes / "train" / "a" / ".hidden.png").write_bytes(png(noise(1, 6, 6)[0]))
    (shapes / "train" / "b" / ".ipynb_checkpoints").mkdir()
    (shapes / "train" / "stray.png").write_bytes(png(noise(1, 6, 6)[0]))
    write_png(shapes / "unused" / "a" / "0.png", noise(1, 6, 6)[0])
    with pytest.warns(UserWarning, match="left out") as warned:
        assert counts(shapes) == counts(shapes) == (10, 2)
    assert len(warned) == 1
    assert str(warned[0].message) == (
        f"{shapes}: number of files and folders left out: 5 (train/a/.hidden.png, train/a/notes.txt,"
        " train/b/.ipynb_checkpoints, …); only images in train/<class>, val/<class> and test/<class> are used"
    )


def test_folder_passes_over_files_of_desktops(shapes: Path) -> None:
    for name in (".DS_Store", "Thumbs.db", "desktop.ini", "._0.png"):
        (shapes / "train" / "a" / name).write_bytes(b"x")
    assert counts(shapes) == (10, 2)


def test_folder_is_walked_once_in_order(shapes: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a-b/0.png", "a/0.png", "0.png"):  # as text, `a-b/` comes before `a/`
        write_png(shapes / "test" / "b" / name, noise(1, 6, 6)[0])
    walked, scandir = [], os.scandir

    def counting(folder: str) -> object:
        walked.append(folder)
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", counting)
    names = [name for name in layout(shapes) if name.startswith("test/b")]
    assert names == [f"test/b/{name}" for name in ("0.png", "a/0.png", "a-b/0.png")]
    assert len(walked) == len(set(walked)) == 6


def test_folder_follows_links(shapes: Path) -> None:
    write_png(shapes.parent / "elsewhere" / "0.png", noise(1, 6, 6, seed=7)[0])
    (shapes / "train" / "a" / "more").symlink_to(shapes.parent / "elsewhere")
    (shapes / "train" / "a" / "one.png").symlink_to(shapes.parent / "elsewhere" / "0.png")
    assert counts(shapes) == (12, 2)


def test_folder_refuses_links_to_nothing_or_above(shapes: Path) -> None:
    link = shapes / "train" / "a" / "gone.png"
    link.symlink_to(shapes / "nowhere.png")
    assert folder_refusal(shapes) == f"{link}: No such file or directory"
    link.unlink()
    (shapes / "train" / "a" / "loop").symlink_to(shapes / "train")
    assert "a link to a folder above it" in folder_refusal(shapes)


def test_folder_tells_a_class_without_images(shapes: Path) -> None:
    for part in ("train", "test"):
        (shapes / part / "c").mkdir()
    assert folder_refusal(shapes).startswith(f"{shapes / 'train' / 'c'}: holds no image; allowed: ")
    (shapes / "train" / "c" / "one.img").write_bytes(b"x")
    assert folder_refusal(shapes).startswith(f"{shapes / 'train' / 'c'}: holds no image (found: one.img); allowed: ")


def test_folder_names_the_folders_it_found(tmp_path: Path) -> None:
    write_folder(tmp_path / "shapes", "Train", ["a"], 1, 6, 6)
    assert folder_refusal(tmp_path / "shapes").endswith("with images; found: Train")


def test_folder_joins_composed_and_decomposed_names(shapes: Path) -> None:
    for part, name in (("train", "caf\u00e9"), ("test", "cafe\u0301")):
        write_folder(shapes, part, [name], 2, 6, 6)
    opened = load(DatasetConfig(name=str(shapes)), None, shapes.parent / "cache")
    assert opened.classes == ("a", "b", "caf\u00e9")
    assert np.bincount(opened.test_labels).tolist() == [1, 1, 2]
    write_folder(shapes, "train", ["cafe\u0301"], 2, 6, 6)
    assert "2 classes are named 'caf\u00e9'; allowed: each name once" in folder_refusal(shapes)


def test_folder_tells_names_of_another_case(shapes: Path) -> None:
    (shapes / "test" / "b").rename(shapes / "test" / "B")
    assert folder_refusal(shapes) == f"{shapes / 'test'}: no class 'b' (spelled 'B' there), which train has"
    (shapes / "train" / "a").rename(shapes / "train" / "B")
    (shapes / "test" / "a").rename(shapes / "test" / "b")
    assert counts(shapes) == (10, 2)  # letters of both cases are classes of their own


@pytest.mark.parametrize("name", ["a\nb", "\x1b[31mred", b"\xff\xfe".decode("utf-8", "surrogateescape")])
def test_folder_refuses_names_that_cannot_be_printed(shapes: Path, name: str) -> None:
    write_folder(shapes, "train", [name], 2, 6, 6)
    message = folder_refusal(shapes)
    assert message.endswith("allowed: names of characters that can be printed")
    assert message.isprintable()


def test_folder_orders_numbers_as_numbers(tmp_path: Path) -> None:
    write_folder(tmp_path / "shapes", "train", [str(i) for i in range(12)], 2, 6, 6)
    write_folder(tmp_path / "shapes", "test", [str(i) for i in range(12)], 1, 6, 6)
    opened = load(DatasetConfig(name=str(tmp_path / "shapes")), None, tmp_path / "cache")
    assert opened.classes == tuple(str(i) for i in range(12))
    assert np.array_equal(opened.train_images[20, 0], noise(2, 6, 6, seed=10)[0])


def test_folder_reads_files_of_odd_names(shapes: Path) -> None:
    for name in (b"\xff.png", b"a\nb.png", b"#1 [x]*?.png"):
        path = shapes / "train" / "a" / name.decode("utf-8", "surrogateescape")
        path.write_bytes(png(noise(1, 6, 6)[0]))
    assert counts(shapes) == (13, 2)
    path.write_bytes(b"")
    assert folder_refusal(shapes).endswith("[x]*?.png: no readable image (it is empty)")
    (shapes / "train" / "a" / b"\xff.png".decode("utf-8", "surrogateescape")).write_bytes(b"")
    (shapes / "train" / "a" / "a\nb.png").write_bytes(b"")
    assert folder_refusal(shapes).isprintable()


def test_sizes_that_differ_widely_are_named(shapes: Path) -> None:
    write_png(shapes / "train" / "a" / "large.png", noise(1, 900, 2, 3)[0])
    assert "2x900 pixels, but " in folder_refusal(shapes)
    resized = load(DatasetConfig(name=str(shapes), image_size=8), None, shapes.parent / "cache")
    assert resized.train_images.shape == (11, 3, 8, 8)
