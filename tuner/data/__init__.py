"""Data sets by name, folder or Parquet: decoded once per machine, mapped into memory, split without a look at the test.

Nothing here imports torch; `tuner.data.device` and `tuner.data.augment` do.
"""

from tuner.data.cache import load
from tuner.data.dataset import Dataset
from tuner.data.splits import Split, split

__all__ = ["Dataset", "Split", "load", "split"]
