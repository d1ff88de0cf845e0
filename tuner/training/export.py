"""Files of trained models for other programs: safetensors, exported programs, TorchScript and ONNX."""

import io
import warnings
from contextlib import redirect_stderr
from hashlib import blake2b
from pathlib import Path

import torch
from torch import Tensor
from torch.export import Dim, ExportedProgram

from tuner.errors import DataError, type_and_line
from tuner.training.formats import DIGEST, NO_DIGEST, hash_file, metadata
from tuner.training.graph import Graph
from tuner.training.image_model import About
from tuner.training.saved_model import SavedModel, copy_state, write_weights

EXAMPLE_IMAGES = 2
"""Images of the example that is traced, because one image would fix the size of batches."""


def write_model(model: SavedModel, file: Path, format_name: str) -> None:
    """Write a model to a file with preprocessing, classes and origin.

    Args:
        model: The model.
        file: The file to write.
        format_name: One of `tuner.training.formats.ENDINGS`.

    Raises:
        DataError: The network cannot be exported, or the file cannot be written.
    """
    state = copy_state(model.network)
    about = model.about.model_copy(update={"weights": hash_state(state)})
    if format_name == "safetensors":
        write_weights(state, file, metadata(about))
        return
    graph = Graph(model.network, model.scale, model.offset)
    example = torch.zeros(EXAMPLE_IMAGES, about.channels, about.image_size, about.image_size, dtype=torch.uint8)
    try:
        program = _trace(graph, example)
        if format_name == "torchscript":
            _write_torchscript(graph, example, about, file)
        elif format_name == "onnx":
            _write_onnx(program, about, file)
        else:
            _write_program(program, about, file)
    except OSError:
        raise
    except Exception as error:  # because a user's network may not be traceable, in any way
        raise DataError(
            f"{about.architecture} cannot be exported as {format_name}: {type_and_line(error)};"
            " allowed: --format safetensors"
        ) from error


def hash_state(state: dict[str, Tensor]) -> str:
    """Hash weights by their names, shapes and values, as 16 hexadecimal digits."""
    digest = blake2b(digest_size=8)
    for name in sorted(state):
        value = state[name].contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        digest.update(value.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _trace(graph: Graph, example: Tensor) -> ExportedProgram:
    """Trace a network for any number of images.

    Standard error is discarded, because PyTorch prints the graph of a network that it refuses.
    """
    with torch.no_grad(), redirect_stderr(io.StringIO()):
        return torch.export.export(graph, (example,), dynamic_shapes={"images": {0: Dim("batch", min=1)}})


def _write_program(program: ExportedProgram, about: About, file: Path) -> None:
    torch.export.save(program, file, extra_files=metadata(about))


def _write_torchscript(graph: Graph, example: Tensor, about: About, file: Path) -> None:
    """Write TorchScript of a network that was traced as a program before.

    Only that refuses networks that branch by their values, of which TorchScript records one branch.
    """
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TorchScript's deprecation, and of shapes that are compared
        script = torch.jit.trace(graph, example, check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(script, str(file), _extra_files=metadata(about))


def _write_onnx(program: ExportedProgram, about: About, file: Path) -> None:
    written = torch.onnx.export(
        program, dynamo=True, input_names=["images"], output_names=["probabilities"], verbose=False
    )
    if written is None:
        raise RuntimeError("no ONNX program was made")
    written.model.metadata_props.update({**metadata(about), DIGEST: NO_DIGEST.decode()})
    written.save(file)
    content = file.read_bytes()
    file.write_bytes(content.replace(NO_DIGEST, hash_file(content)))
