"""`python -m tuner`."""

import sys

try:
    from tuner.cli.main import main
except ModuleNotFoundError as error:  # a job's `python` is whatever the head's PATH says
    print(f"{sys.executable} has no package '{error.name}'; install this project for it", file=sys.stderr)
    sys.exit(2)

if __name__ == "__main__":
    main()
