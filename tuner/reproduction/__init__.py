"""Published reports and the studies that repeat them, compared from the tables alone.

>>> from tuner import reproduction
>>> table = reproduction.table("vazquez", "notebooks/results")  # doctest: +SKIP
>>> reproduction.pivot(table)  # doctest: +SKIP
>>> reproduction.claims("vazquez", "notebooks/results")  # doctest: +SKIP
"""

from tuner.reproduction.comparison import pivot, printed, table
from tuner.reproduction.report_claims import claims
from tuner.reproduction.study_sources import source, sources

__all__ = ["claims", "pivot", "printed", "source", "sources", "table"]
