"""Entry point of `python -m tuner`."""

import sys

try:
    from tuner.cli.main import main
except ModuleNotFoundError as error:  # because a job's `python` is the first on the head node's PATH
    print(f"{sys.executable} has no package '{error.name}'; install this project for it", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    main()
