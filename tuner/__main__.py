"""Entry point of `python -m tuner`."""

import sys
from os import getcwd  # which is loaded before any file of the user could hide it

if not sys.flags.safe_path and sys.path[0] == getcwd():  # noqa: PTH109 because pathlib imports others
    sys.path.append(sys.path.pop(0))  # because a `random.py` of the user would be imported

try:
    from tuner.cli.main import main
except ModuleNotFoundError as error:  # because a job's `python` is the first on the head node's PATH
    print(f"{sys.executable} has no package '{error.name}'; install this project for it", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    main()
