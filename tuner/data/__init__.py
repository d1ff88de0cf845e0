"""Data sets by name, folder or Parquet: decoded once per machine, memory-mapped and split.

Nothing here imports torch; `tuner.data.device` and `tuner.data.augment` do.
"""

from tuner.data.cache import load
from tuner.data.dataset import Dataset
from tuner.data.splits import Split, split

__all__ = ["Dataset", "Split", "load", "split"]
