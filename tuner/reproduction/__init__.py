"""Published reports against the studies that repeat them: every number, and every claim, from the tables alone.

>>> from tuner import reproduction
>>> table = reproduction.table("vazquez", "notebooks/results")  # doctest: +SKIP
>>> reproduction.wide(table)  # doctest: +SKIP
>>> reproduction.claims("vazquez", "notebooks/results")  # doctest: +SKIP
"""

from tuner.reproduction.claims import claims
from tuner.reproduction.compare import printed, table, wide
from tuner.reproduction.provenance import source, sources

__all__ = ["claims", "printed", "source", "sources", "table", "wide"]
