"""Execute notebooks in place; only what their tables say can change them.

$ python notebooks/execute.py                 # every notebook here
$ python notebooks/execute.py 001 004         # those whose names begin so
"""

import asyncio
import sys
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
SECONDS = 60
"""A cell may take so long."""


def execute(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run every cell of a notebook in this folder and keep the outputs; neither times nor the machine's Python.

    Raises:
        CellExecutionError: A cell failed.
    """
    quiet = ["--log-level=ERROR"]  # a kernel warns that it talks over TCP
    folder = {"metadata": {"path": str(HERE)}}
    client = NotebookClient(notebook, timeout=SECONDS, record_timing=False, resources=folder, extra_arguments=quiet)
    executed: nbformat.NotebookNode = asyncio.run(client.async_execute())  # which closes its event loop
    executed.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": {"name": "python"}})
    return executed


def main(beginnings: list[str]) -> None:
    """Execute the notebooks whose names begin so; all where none is named."""
    for path in sorted(HERE.glob("*.ipynb")):
        if path.name.startswith(tuple(beginnings or [""])):
            print(path.name)
            nbformat.write(execute(nbformat.read(path, as_version=4)), path)


if __name__ == "__main__":
    main(sys.argv[1:])
