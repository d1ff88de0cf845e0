"""The Gaussian process over configurations and the share of their training."""

import numpy as np
import pytest
from scipy.optimize import approx_fprime

from tuner.search.gaussian_process import CurveProcess, Points

DRAW = np.random.default_rng(0)


def height(features: np.ndarray) -> np.ndarray:
    """Return where the curves of configurations end."""
    return np.asarray(np.sin(3 * features[:, 0]) + features[:, 1])


def curves(count: int, shares: tuple[float, ...], first: int = 0) -> tuple[Points, np.ndarray]:
    """Return curves that rise to their height, at some shares of their epochs."""
    features = np.repeat(DRAW.random((count, 2)), len(shares), axis=0)
    points = Points(
        features,
        np.tile(shares, count).astype(float),
        np.repeat(np.arange(first, first + count), len(shares)),
    )
    return points, height(features) + points.shares - 1


def test_gradient_is_that_of_the_loss() -> None:
    points, scores = curves(12, (0.0, 0.5, 1.0))
    process = CurveProcess([0, 1])
    squares = process._squares(points.features, points.features)
    apart = np.abs(points.shares[:, None] - points.shares)
    same = (points.trials[:, None] == points.trials).astype(float)
    given = (squares, apart, same, points.shares, scores)
    theta = process._means + 0.3
    numeric = approx_fprime(theta, lambda t: process._loss(t, *given)[0], 1e-7)
    assert process._loss(theta, *given)[1] == pytest.approx(numeric, rel=1e-3, abs=1e-3)


def test_process_tells_ends_from_early_epochs() -> None:
    ended, ends = curves(8, (0.0, 0.5, 1.0))
    begun, beginnings = curves(30, (0.0,), first=8)
    process = CurveProcess([0, 1])
    points, scores = ended.joined(begun), np.concatenate([ends, beginnings])
    process.fit(points, scores)
    process.condition(points, scores)
    mean, deviation = process.predict(Points(begun.features, np.ones(30), begun.trials))
    assert np.corrcoef(mean, height(begun.features))[0, 1] > 0.95
    assert (deviation > 0).all()


def test_deviation_grows_away_from_the_points() -> None:
    points, scores = curves(20, (1.0,))
    process = CurveProcess([0, 1])
    process.fit(points, scores)
    process.condition(points, scores)
    near = Points(points.features, np.ones(20), np.full(20, -1))
    far = Points(points.features + 3, np.ones(20), np.full(20, -1))
    mean, deviation = process.predict(near)
    assert np.abs(mean - scores).max() < 0.3
    assert deviation.max() < process.predict(far)[1].min()


def test_features_of_one_parameter_share_a_length() -> None:
    points, scores = curves(20, (1.0,))
    assert len(CurveProcess([0, 0])._means) + 1 == len(CurveProcess([0, 1])._means)
    process = CurveProcess([0, 0])
    process.fit(points, scores)
    process.condition(points, scores)
    assert np.isfinite(process.predict(points)[0]).all()
