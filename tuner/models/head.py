"""The parts of a network: the head, which gives the logits, and the stages before it."""

import re

from torch import nn

from tuner.errors import SpecError


def find_head(model: nn.Module, classes: int) -> str:
    """Return the path of the layer that gives the logits: `fc`, `classifier.1`.

    It is the last registered layer that has one output per class.

    Raises:
        SpecError: No layer has as many outputs.
    """
    for name, module in reversed([*model.named_modules()]):
        sizes = {parameter.shape[0] for parameter in module.parameters(recurse=False) if parameter.ndim}
        if sizes == {classes}:
            return str(name)
    raise SpecError(f"architecture: no layer of {type(model).__name__} has {classes} outputs, one for each class")


def belongs_to(name: str, module: str) -> bool:
    """Return True if a parameter or module belongs to a module.

    Both arguments are paths. The path '' is the whole network.
    """
    return not module or name == module or name.startswith(f"{module}.")


def list_stages(model: nn.Module, head: str) -> list[list[nn.Parameter]]:
    """List the parameters of each stage of a network.

    The head is left out. Stages are in the order in which the network registers them. A stage is
    the outermost part with a number in its name: `layer1`, `features.3`, `blocks.11`. A layer
    outside of such parts is a separate stage, but norms and lone parameters belong to the stage
    before.
    """
    stages: list[list[nn.Parameter]] = []
    current: str | None = None
    seen: set[nn.Parameter] = set()
    for path, module in model.named_modules():
        own = [parameter for parameter in module.parameters(recurse=False) if parameter not in seen]
        if not own or belongs_to(path, head):
            continue
        seen.update(own)
        stage, is_attached = _stage_of(path), _is_attached(path, module)
        if stages and (is_attached or current in (None, stage)):
            stages[-1] += own
        else:
            stages.append(own)
        current = current if is_attached else stage
    return stages


def _stage_of(path: str) -> str:
    """Return a path up to its first part with a number.

    A path without numbers is returned whole.
    """
    numbered = re.match(r"(?:[^.\d]+\.)*[^.\d]*\d[^.]*", path)
    return numbered[0] if numbered else path


def _is_attached(path: str, module: nn.Module) -> bool:
    """Return True if a module's own parameters belong to the stage before.

    They do if it is a norm that is no part of a stage, or a network or part without a number that has
    lone parameters, such as the embedding of positions.
    """
    if _stage_of(path) != path:
        return False
    is_norm = all(parameter.ndim < 2 for parameter in module.parameters(recurse=False))
    return is_norm or (any(module.children()) and not re.search(r"\d", path))
