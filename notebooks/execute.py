"""Execute notebooks in place.

$ python notebooks/execute.py                 # every notebook here
$ python notebooks/execute.py 001 004         # those with these prefixes
"""

import asyncio
import os
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
SECONDS = 60
"""Seconds to wait for a cell."""


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run every cell of a notebook and keep the outputs.

    Times and the version of Python are left out, because they would change with every run.

    Raises:
        CellExecutionError: A cell failed.
    """
    quiet = ["--log-level=ERROR"]  # because a kernel warns about TCP
    folder = {"metadata": {"path": str(HERE)}}
    client = NotebookClient(notebook, timeout=SECONDS, record_timing=False, resources=folder, extra_arguments=quiet)
    environment = os.environ | {"PYTHONWARNINGS": "ignore:IProgress not found"}  # because Optuna draws bars with tqdm
    run = client.async_execute(env=environment)
    executed: nbformat.NotebookNode = asyncio.run(run)  # which closes its event loop
    executed.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    return executed


def main(prefixes: list[str]) -> None:
    """Execute the notebooks whose names have a prefix, or all."""
    for path in sorted(HERE.glob("*.ipynb")):
        if path.name.startswith(tuple(prefixes or [""])):
            print(path.name)
            nbformat.write(execute(nbformat.read(path, as_version=4)), path)


if __name__ == "__main__":
    main(sys.argv[1:])
