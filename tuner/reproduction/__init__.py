"""Published reports compared with the studies that repeat them, from tables alone.

>>> from tuner import reproduction
>>> table = reproduction.table("vazquez", "notebooks/results")  # doctest: +SKIP
>>> reproduction.pivot(table)  # doctest: +SKIP
>>> reproduction.claims("vazquez", "notebooks/results")  # doctest: +SKIP
"""

from tuner.reproduction.claims import claims
from tuner.reproduction.compare import pivot, printed, table
from tuner.reproduction.provenance import source, sources

__all__ = ["claims", "pivot", "printed", "source", "sources", "table"]
