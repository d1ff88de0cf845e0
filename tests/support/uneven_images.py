"""A folder of drawn shapes whose classes are uneven, as a user may have one."""

from pathlib import Path

import numpy as np

from tests.support.image_files import write_png

COUNTS = {"disc": 330, "square": 180, "stripes": 90}
"""Images by class, 600 in all."""


def write_shapes(root: Path, counts: dict[str, int] | None = None, side: int = 20) -> None:
    """Write `root/train/<class>/<i>.png`, a shape on noise, and `root/groups.csv` with 30 sites."""
    lines = ["image,group"]
    rows, columns = np.mgrid[:side, :side]
    draw = np.random.default_rng(0)
    for name, count in (counts or COUNTS).items():
        for i in range(count):
            y, x = draw.uniform(0.35, 0.65, 2) * side
            radius = draw.uniform(0.2, 0.35) * side
            masks = {
                "disc": (rows - y) ** 2 + (columns - x) ** 2 < radius**2,
                "square": np.maximum(abs(rows - y), abs(columns - x)) < radius * 0.9,
                "stripes": (rows + int(y)) % 6 < 3,
            }
            pixels = draw.integers(0, 120, (side, side, 3))
            pixels[masks[name]] += draw.integers(40, 130, 3)
            lines.append(f"train/{name}/{i}.png,site_{i % 30}")
            write_png(root / "train" / name / f"{i}.png", pixels.astype(np.uint8))
    (root / "groups.csv").write_text("\n".join(lines))
