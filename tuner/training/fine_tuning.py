"""Fine-tuning: layers that are frozen at first, and learning rates that differ between layers."""

from typing import Any

from torch import nn

from tuner.config.training import TrainingConfig
from tuner.models.head import belongs_to, find_head, list_stages


class Freezer:
    """The layers below a network's head, frozen in the first epochs.

    Frozen parts stay in evaluation mode, so that their dropout is off and the statistics of their
    batch norms stand still.
    """

    def __init__(self, model: nn.Module, classes: int, epochs: int | str) -> None:
        head = find_head(model, classes)
        named = [(name, each) for name, each in model.named_parameters() if not belongs_to(name, head)]
        self._parameters = [parameter for _, parameter in named if parameter.requires_grad]
        self._parts = list(_parts_outside(model, "", head))
        self._epochs = epochs

    def apply(self, epoch: int) -> None:
        """Freeze or release the layers.

        Call this function after the network was put into training mode.

        Args:
            epoch: Completed epochs.
        """
        is_frozen = self._epochs == "all" or epoch < int(self._epochs)
        for parameter in self._parameters:
            parameter.requires_grad_(not is_frozen)
        if is_frozen:
            for part in self._parts:
                part.eval()


def _parts_outside(model: nn.Module, path: str, head: str) -> list[nn.Module]:
    """List the largest parts of a network that exclude its head.

    Parts without parameters are left out.
    """
    parts: list[nn.Module] = []
    for name, child in model.named_children():
        below = f"{path}.{name}" if path else name
        if belongs_to(head, below):
            parts += [] if below == head else _parts_outside(child, below, head)
        elif any(True for _ in child.parameters()):
            parts.append(child)
    return parts


def group_parameters(model: nn.Module, classes: int, config: TrainingConfig) -> list[dict[str, Any]]:
    """Group a network's parameters by the factor of their learning rate.

    The head has factor 1 or that of its own learning rate. Each stage below has `layer_decay` times
    the factor of the stage above it, and the uppermost stage has `layer_decay`.

    Returns:
        Groups for an optimizer, each with its `factor`.
    """
    head = find_head(model, classes)
    stages = list_stages(model, head)
    groups: dict[float, list[nn.Parameter]] = {}
    for depth, parameters in enumerate(stages):
        groups.setdefault(config.layer_decay ** (len(stages) - depth), []).extend(parameters)
    head_rate = config.learning_rate if config.head_learning_rate is None else config.head_learning_rate
    below = {parameter for stage in stages for parameter in stage}
    of_head = [parameter for parameter in model.get_submodule(head).parameters() if parameter not in below]
    groups.setdefault(head_rate / config.learning_rate, []).extend(of_head)
    return [{"params": parameters, "factor": factor} for factor, parameters in groups.items()]
