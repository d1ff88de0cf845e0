"""Values kept sorted, whatever the order in which they come."""

import random

import numpy as np
import pytest
import scipy

from tuner.search.ranking import Ranking, interpolated_quantile, ranks


class CountedFloat(float):
    """A number that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: float) -> bool:
        CountedFloat.compared += 1
        return float(self) < float(other)


def test_ranking_stays_sorted_through_replacements() -> None:
    chance = random.Random(0)
    for _ in range(200):
        ranking, values = Ranking(), dict[int, float]()
        for _ in range(300):
            number, value = chance.randrange(150), float(chance.randrange(20))
            ranking.record(number, value)
            values[number] = value
            if chance.random() < 0.05:
                assert ranking.ordered == sorted(values.values())
                asked = chance.uniform(-1, 21)
                assert ranking.rank(asked) == 1 + sum(other > asked for other in values.values())
        assert dict(ranking.items()) == values
        assert len(ranking) == len(values)
        assert 150 not in ranking


def test_ranking_gives_equal_values_equal_ranks() -> None:
    ranking = Ranking()
    for number, value in enumerate([0.5, 0.7, 0.5, 0.1]):
        ranking.record(number, value)
    assert [ranking.rank(value) for value in (0.9, 0.7, 0.5, 0.1, 0.0)] == [1, 1, 2, 4, 5]


@pytest.mark.slow
def test_ranking_of_many_compares_few() -> None:
    ranking = Ranking()
    for number in range(100_000):
        ranking.record(number, CountedFloat(number * 7919 % 100_000))
    assert ranking.rank(CountedFloat(50_000)) == 49_999 + 1
    CountedFloat.compared = 0
    for number in range(100):
        asked = CountedFloat(number * 997)
        ranking.rank(asked)
        interpolated_quantile(ranking.ordered, 2 / 3)
        ranking.record(100_000 + number, asked)
    assert 100 < CountedFloat.compared < 100 * 2 * 18  # twice a binary search among 2**17


@pytest.mark.parametrize("factor", [2.0, 3.0, 4.0, 1.5, 2.7, 1000.0])
def test_quantile_equals_numpys_to_the_bit(factor: float) -> None:
    draw = np.random.default_rng(0)
    percent = (1 - 1 / factor) * 100
    for size in range(1, 200):
        values = np.sort(np.round(draw.normal(size=size), int(draw.integers(1, 16)))).tolist()
        assert interpolated_quantile(values, percent / 100) == np.nanpercentile(values, percent)


def test_ranks_are_those_of_scipy() -> None:
    draw = np.random.default_rng(0)
    for size in range(1, 60):
        values = draw.integers(0, size, size)
        assert np.array_equal(ranks(values), scipy.stats.rankdata(values))
