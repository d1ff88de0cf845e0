"""The head of a network: the layer that gives the logits."""

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
    """Return True if a parameter or module is in the module at a path."""
    return not module or name == module or name.startswith(f"{module}.")
