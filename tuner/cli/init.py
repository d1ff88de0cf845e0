"""`init`: a study file for a folder of images, chosen by their number, sizes and balance."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from tuner.cli.tables import out, program
from tuner.errors import DataError, SpecError, printable, shorten

LOOKED_AT = 1000
"""Most images whose size is read."""
UNEVEN = 1.5
"""Images of the largest class for each of the smallest from which classes are uneven."""
FEW, MANY = 2_000, 20_000
"""Training images up to which a set is small, and from which it is large."""
GROUPS = "groups.csv"
"""File of the folder that names the group of each image."""
SMALLEST_SIDE = 8
"""Smallest side of images that resnet9 takes, in pixels."""
FEWEST = 10
"""Images of a class below which its figures are mostly chance."""
NAMED = 5
"""Such classes that are named at most."""
STUDY = """\
# {name}: {counts}
# Written by `tuner init`. Every key: docs/study-file.md
study: "{study}"
dataset:
  name: {path}
  image_size: {image_size}  # both sides; {why[image_size]}
  {validation_line}
  pixels: standard  # mean 0 and deviation 1 over the training images
  augment: {{crop: {crop}}}  # add `flip: true` if a mirrored image is of the same class
training:
  architecture: resnet9  # with weights of your own: docs/pretrained.md
  filters: {filters}  # {why[filters]}
  optimizer: adamw
  schedule: one_cycle
  class_weights: {class_weights}
objective: {{maximize: {objective}}}  # {why[objective]}
classes: [validation, test]  # precision, recall and F1 per class, in a table
space:
  learning_rate: {{float: [3e-4, 3e-2], log: true}}
  weight_decay: {{float: [1e-4, 1e-1], log: true}}
  batch_size: {{choice: {batch_sizes}}}
  epochs: {{choice: {epochs}}}  # {why[epochs]}
search: {{trials: {trials}}}
stopping: {{asha: {{grace_period: 2}}}}
repeats: {{top: 3, seeds: 3}}  # the best again with other seeds; `tuner final` takes the best mean
"""


@dataclass(frozen=True)
class Summary:
    """Facts about a folder that decide its study file.

    Attributes:
        path: The folder, as the study file names it.
        classes: Images in `train` by class.
        test: Images in `test`, 0 without that folder.
        own_validation: Images in `val`, 0 without that folder.
        sides: Width and height of some images, in pixels.
        gpu: True if torch sees a GPU here.
        grouped: True if the folder has a file `groups.csv`.
    """

    path: str
    classes: Mapping[str, int]
    test: int
    sides: tuple[tuple[int, int], ...]
    gpu: bool
    grouped: bool = False
    own_validation: int = 0

    @property
    def training(self) -> int:
        """Number of training images.

        A fifth of `train` is left out where it has to give the test images.
        """
        images = sum(self.classes.values())
        return images if self.test else images - -(-images // 5)

    @property
    def unevenness(self) -> float:
        """Images of the largest class for each image of the smallest."""
        return max(self.classes.values()) / min(self.classes.values())


@dataclass(frozen=True)
class Choice:
    """The values of a study file that a summary decides."""

    image_size: int
    validation: float
    crop: int
    filters: int
    objective: str
    class_weights: str
    batch_sizes: list[int]
    epochs: list[int]
    trials: int


def init(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A folder with train/<class>/ of images.")],
    file: Annotated[Path, typer.Option("--out", metavar="FILE", help="The study file to write.")] = Path("study.yaml"),
) -> None:
    """Write a study file for a folder of images."""
    _refuse_existing(file)
    summary = summarize(folder)
    choice = choose(summary)
    text = render(summary, choice)
    _write(file, text, summary.path)
    reasons = (f"{key} {getattr(choice, key)}: {why}" for key, why in explain(summary, choice).items())
    for line in [_counts(summary), *reasons, f"class_weights {choice.class_weights}", *cautions(summary)]:
        out.print(line, markup=False, soft_wrap=True)
    call = " ".join([*program(), "run", str(file)])
    out.print(
        f"Written: {file}. Begin with: {call} (add --dry-run for the time it takes)", markup=False, soft_wrap=True
    )


def choose(summary: Summary) -> Choice:
    """Choose a network and a recipe.

    - The images keep the median of their sides, or have at most 128 pixels a side on a GPU. On a CPU they have
      at most 64 if they are few, or else 32.
    - Classes are uneven from a ratio of `UNEVEN`. Then `class_weights` are balanced, and the objective
      is the AUROC of two classes, or else the balanced accuracy.
    - Few images are trained for more epochs, in smaller batches.
    """
    small, large = summary.training < FEW, summary.training >= MANY
    size = max(SMALLEST_SIDE, min(_largest_side(summary), _median(summary)))
    uneven = summary.unevenness >= UNEVEN
    return Choice(
        image_size=size,
        validation=0.2 if small else 0.1,
        crop=max(1, size // 8),
        filters=64 if summary.gpu else 16,
        objective=("val_auroc" if len(summary.classes) == 2 else "val_balanced_accuracy") if uneven else "val_accuracy",
        class_weights="balanced" if uneven else "none",
        batch_sizes=[16, 32] if small else [64, 128] if large else [32, 64],
        epochs=[20, 40] if small else [5, 10] if large else [10, 20],
        trials=32 if summary.gpu else 24,
    )


def _largest_side(summary: Summary) -> int:
    """Return the largest image size that this machine trains in reasonable time."""
    if summary.gpu:
        return 128
    return 64 if summary.training < FEW else 32


def explain(summary: Summary, choice: Choice) -> dict[str, str]:
    """Give the reason of each choice, by its key."""
    device, side = "GPU" if summary.gpu else "CPU", _largest_side(summary)
    ratio = f"{summary.unevenness:.1f} to 1"
    even = "uneven" if choice.class_weights == "balanced" else "even"
    share = "share of the training images that chooses" + (", in whole groups" if summary.grouped else "")
    return {
        "image_size": f"the images' median is {_median(summary)}, and the {device} gets {side} at most",
        **({} if summary.own_validation else {"validation": share}),
        "filters": f"width of resnet9, 64 on a GPU and 16 on a CPU; a {device} is here",
        "objective": f"classes are {even}, {ratio} ({UNEVEN} and more is uneven)",
        "epochs": f"for {summary.training:,} training images",
    }


def cautions(summary: Summary) -> list[str]:
    """Warn of classes that are too small, and of unused groups."""
    found = []
    if summary.own_validation and summary.grouped:
        found.append(f"Careful: {GROUPS} is not used, because the folder sets validation images apart")
    rare = [name for name, count in summary.classes.items() if count < FEWEST]
    if rare:
        listed = ", ".join(f"{_shown(name)} ({summary.classes[name]})" for name in rare[:NAMED])
        more = f" and {len(rare) - NAMED} more" if len(rare) > NAMED else ""
        found.append(f"Careful: classes of fewer than {FEWEST} images: {listed}{more}; their figures are mostly chance")
    return found


def render(summary: Summary, choice: Choice) -> str:
    """Write a study file with a comment for each choice."""
    name = Path(summary.path).absolute().name
    return STUDY.format(
        name=_shown(name),
        study=re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip("._-")[:100] or "images",
        counts=_counts(summary),
        path=json.dumps(summary.path, ensure_ascii=False),
        validation_line=_validation_line(summary, choice),
        **vars(choice),
        why=explain(summary, choice),
    )


def _validation_line(summary: Summary, choice: Choice) -> str:
    """Write the line of a study file that says which images choose."""
    if summary.own_validation:
        return f"# validation: the {summary.own_validation:,} images that the folder sets apart choose"
    groups = json.dumps(f"{summary.path}/{GROUPS}", ensure_ascii=False)
    value = f"{{groups: {groups}, share: {choice.validation}}}" if summary.grouped else choice.validation
    return f"validation: {value}  # {explain(summary, choice)['validation']}"


def summarize(folder: Path) -> Summary:
    """Count the images of a folder, and read the size of some.

    Raises:
        DataError: The folder is not laid out as a data set, or an image is broken.
    """
    from tuner.data.formats import image_folder
    from tuner.data.formats.shards import layout

    if not folder.is_dir():
        raise DataError(f"{folder}: no folder here; allowed: a folder with train/<class>/ of images")
    if layout(folder, "parquet").train:
        raise DataError(f"{folder}: holds Parquet files; allowed: a folder with train/<class>/ of images")
    files = image_folder.layout(folder)
    train, apart, test = image_folder.names_by_part(files)
    is_plain = folder.is_absolute() or folder.parts[:1] == ("..",)

    import torch  # late, because it takes seconds

    return Summary(
        path=str(folder) if is_plain else f"./{folder}",
        classes=Counter(name.split("/")[1] for name in train),
        test=len(test),
        sides=_sides([files[name] for name in train]),
        gpu=torch.cuda.is_available(),
        grouped=(folder / GROUPS).is_file(),
        own_validation=len(apart),
    )


def _sides(files: list[Path]) -> tuple[tuple[int, int], ...]:
    """Return width and height of at most `LOOKED_AT` images, spread over all."""
    from PIL import Image

    sizes = []
    for file in files[:: -(-len(files) // LOOKED_AT)]:
        try:
            with Image.open(file) as image:
                sizes.append(image.size)
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            raise DataError(f"{file}: cannot be read as an image; mend or remove it") from error
    return tuple(sizes)


def _median(summary: Summary) -> int:
    """Return the median of the images' shorter sides, in pixels."""
    return int(median(min(size) for size in summary.sides))


def _counts(summary: Summary) -> str:
    """Describe the images in a line."""
    shown = [f"{_shown(name)} {count:,}" for name, count in list(summary.classes.items())[:5]]
    more = ", …" if len(summary.classes) > 5 else ""
    total, sides = sum(summary.classes.values()), [side for size in summary.sides for side in size]
    test = f"{summary.test:,} test images" if summary.test else "a fifth is held out for the test"
    apart = f", {summary.own_validation:,} validation images" if summary.own_validation else ""
    sizes = f"{min(sides)} to {max(sides)} pixels a side" if len({*sides}) > 1 else f"{sides[0]}x{sides[0]} pixels"
    return f"{total:,} images of {len(summary.classes)} classes ({', '.join(shown)}{more}), {sizes}{apart}, {test}"


def _shown(name: str) -> str:
    return shorten(printable(name), 40)


def _refuse_existing(file: Path) -> None:
    if file.exists() or file.is_symlink():
        raise SpecError(f"{file}: exists already, and nothing is overwritten; name another file with --out FILE")


def _write(file: Path, text: str, path: str) -> None:
    """Check a study file, and write it."""
    from tuner.config.study import parse_spec
    from tuner.config.yaml import parse_yaml

    spec = parse_spec(parse_yaml(text, str(file)), str(file))
    if spec.dataset.name != path:
        raise DataError(f"{path}: a name that a study file cannot hold; rename the folder")
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        _refuse_existing(file)
