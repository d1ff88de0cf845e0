"""Make the README's pictures: the live panel and the report of a real study, and a figure of committed results.

`make pictures` runs it. The digits study trains in a pseudo-terminal, so it takes half a minute. The report
is opened in Chromium.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pexpect
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import sync_playwright
from rich.color import ColorType
from rich.console import Console
from rich.segment import Segment
from rich.style import Style
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).parents[1]
PICTURES = ROOT / "docs" / "pictures"
STUDY = ROOT / "search_spaces" / "digits.yaml"
WIDTH, HEIGHT = 100, 18
FONT_SIZE = 22
PAGE_WIDTH = 1100
REDRAW = re.compile(r"\r?\x1b\[2K(?:\x1b\[1A\x1b\[2K)*")
"""Sequence with which the live display erases its last frame."""
CONTROL = re.compile(r"\x1b\[\?\d+[hl]|\r")


def run_in_terminal(results: str) -> str:
    """Run the digits study in a pseudo-terminal and return all that it wrote."""
    command = ["-m", "tuner", "run", str(STUDY), "--results", results]
    child = pexpect.spawn(
        sys.executable, command, dimensions=(HEIGHT, WIDTH), encoding="utf-8", timeout=600, cwd=str(ROOT)
    )
    written: str = child.read()
    child.close()
    if child.exitstatus:
        raise SystemExit(f"the digits study ended with exit code {child.exitstatus}:\n{written[-2000:]}")
    return written


def frames(written: str) -> Iterator[str]:
    """Return each frame of the live display, with its colours."""
    for frame in REDRAW.split(written):
        text = CONTROL.sub("", frame).strip("\n")
        if " running in " in text and "left" in text and text.count("\n") <= HEIGHT:
            yield text


def choose(written: str) -> str:
    """Return the frame in which most is seen: two thirds of the trials, and several running ones."""

    def distance(frame: str) -> float:
        done, total = map(int, re.findall(r"(\d+)/(\d+) trials", Text.from_ansi(frame).plain)[0])
        running = int(re.findall(r"(\d+) running", Text.from_ansi(frame).plain)[0])
        return abs(done / total - 2 / 3) + (running < 2)

    return min(frames(written), key=distance)


def colour(style: Style | None, background: bool = False) -> tuple[int, int, int]:
    """Return the colour of a style in the theme."""
    if background or style is None or style.color is None or style.color.type == ColorType.DEFAULT:
        return MONOKAI.background_color if background else MONOKAI.foreground_color
    return style.color.get_truecolor(MONOKAI)


def draw_terminal(text: Text, path: Path) -> None:
    """Draw lines of a terminal as a PNG."""
    console = Console(width=WIDTH, force_terminal=True, color_system="truecolor", legacy_windows=False)
    lines = console.render_lines(text, pad=False)
    fonts = {
        bold: ImageFont.truetype(
            font_manager.findfont(f"DejaVu Sans Mono:weight={'bold' if bold else 'regular'}"), FONT_SIZE
        )
        for bold in (False, True)
    }
    cell, height, margin = fonts[False].getlength("x"), int(FONT_SIZE * 1.35), FONT_SIZE
    size = (int(WIDTH * cell) + 2 * margin, len(lines) * height + 2 * margin)
    image = Image.new("RGB", size, colour(None, background=True))
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(lines):
        column = 0
        for segment in Segment.simplify(line):
            style = segment.style
            dim = style is not None and bool(style.dim)
            ink = tuple(channel * 6 // 10 for channel in colour(style)) if dim else colour(style)
            font = fonts[style is not None and bool(style.bold)]
            draw.text((margin + column * cell, margin + row * height), segment.text, ink, font)
            column += segment.cell_length
    image.quantize(32).save(path, optimize=True)


def draw_live_panel(written: str) -> None:
    """Draw one frame of the live panel, below the command."""
    command = Text("$ tuner run search_spaces/digits.yaml\n\n")
    draw_terminal(command + Text.from_ansi(choose(written)), PICTURES / "live.png")


def draw_report(results: str) -> None:
    """Draw the report of the digits study from its head to its learning curves, in Chromium."""
    file = Path(results) / "digits.html"
    words = ["-m", "tuner", "report", "digits", "--results", results, "--output", str(file)]
    subprocess.run([sys.executable, *words], check=True, cwd=ROOT)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": PAGE_WIDTH, "height": 800})
        page.goto(file.as_uri())
        page.evaluate("report.ready")
        bottom = page.evaluate("document.getElementById('s0_learning_curves').getBoundingClientRect().bottom")
        shot = page.screenshot(clip={"x": 0, "y": 0, "width": PAGE_WIDTH, "height": bottom + 24}, full_page=True)
        browser.close()
    Image.open(BytesIO(shot)).convert("RGB").quantize(48).save(PICTURES / "report.png", optimize=True)


def main() -> None:
    """Make both pictures."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-") as results:
        draw_live_panel(run_in_terminal(results))
        draw_report(results)
    for path in sorted(PICTURES.glob("*.png")):
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size // 1024} KB")


if __name__ == "__main__":
    main()
