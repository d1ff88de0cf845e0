"""A Gaussian process over configurations and the share of their training.

The kernel is a · Matern52(x) · Matern52(s) + b · [same trial] · Matern52(s) + c · s · s' + noise, where x
is the configuration and s the logarithmic share of its epochs, 1 at the end. numpy and scipy
compute it, because a study's driver needs no torch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

Array = NDArray[np.float64]

ITERATIONS = 30
"""Steps of the fit."""
_JITTER = 1e-6
_ROOT = np.sqrt(5.0)


@dataclass(frozen=True)
class Points:
    """Measurements of trials.

    Args:
        features: One row per point.
        shares: Logarithmic share of the planned epochs of each point.
        trials: Number of the trial of each point.
    """

    features: Array
    shares: Array
    trials: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.shares)

    def chosen(self, rows: NDArray[np.bool_]) -> "Points":
        """Return some of the points."""
        return Points(self.features[rows], self.shares[rows], self.trials[rows])

    def joined(self, other: "Points") -> "Points":
        """Return the points of both."""
        return Points(
            np.concatenate([self.features, other.features]),
            np.concatenate([self.shares, other.shares]),
            np.concatenate([self.trials, other.trials]),
        )


class CurveProcess:
    """A Gaussian process whose hyperparameters are fitted from the prior.

    Args:
        groups: Parameter of each feature. The features of one parameter share a length.
    """

    def __init__(self, groups: Sequence[int]) -> None:
        self._groups = np.asarray(groups)
        count = int(self._groups.max()) + 1 if len(groups) else 0
        # Means and deviations of the logarithms: lengths, then share, a, b, c, noise.
        self._means = np.log([*[0.7] * count, 1.0, 1.0, 0.05, 0.5, 0.02])
        self._deviations = np.array([*[1.0] * count, 0.7, 0.7, 1.0, 1.0, 1.0])
        self._theta: Array = self._means.copy()

    def fit(self, points: Points, scores: Array) -> None:
        """Fit the hyperparameters, beginning at their prior means."""
        squares = self._squares(points.features, points.features)
        apart = np.abs(points.shares[:, None] - points.shares[None, :])
        same = (points.trials[:, None] == points.trials[None, :]).astype(float)
        given = (squares, apart, same, points.shares, scores)
        bounds = list(zip(self._means - 4, self._means + 4, strict=True))
        found = minimize(
            self._loss, self._means, given, "L-BFGS-B", True, bounds=bounds, options={"maxiter": ITERATIONS}
        )
        self._theta = found.x

    def condition(self, points: Points, scores: Array) -> None:
        """Keep the measurements that predictions are made from."""
        self._points, self._scores = points, scores
        noise = np.exp(self._theta[-1])
        kernel = self._kernel(points, points) + (noise + _JITTER) * np.eye(len(points))
        self._factor = cho_factor(kernel, lower=True)
        self._weights = cho_solve(self._factor, scores)

    def predict(self, points: Points) -> tuple[Array, Array]:
        """Return mean and deviation of the scores without noise."""
        cross = self._kernel(points, self._points)
        solved = cho_solve(self._factor, cross.T)
        a, b, c = np.exp(self._theta[-4:-1])
        # Numbers below zero are of trials that have not begun, whose own part is left out.
        prior = a + b * (points.trials >= 0) + c * points.shares**2
        variance = prior - np.einsum("ij,ji->i", cross, solved)
        return cross @ self._weights, np.sqrt(np.maximum(variance, 1e-9))

    def _squares(self, one: Array, other: Array) -> Array:
        """Return squared distances by parameter: parameters x rows x rows."""
        apart = (one[:, None, :] - other[None, :, :]) ** 2
        count = int(self._groups.max()) + 1 if len(self._groups) else 0
        return np.stack([apart[:, :, self._groups == group].sum(axis=2) for group in range(count)])

    def _kernel(self, one: Points, other: Points) -> Array:
        lengths, (share, a, b, c, _) = np.exp(self._theta[:-5]), np.exp(self._theta[-5:])
        scaled = one.features / lengths[self._groups], other.features / lengths[self._groups]
        across = (scaled[0] ** 2).sum(1)[:, None] + (scaled[1] ** 2).sum(1) - 2 * scaled[0] @ scaled[1].T
        along = _matern(np.abs(one.shares[:, None] - other.shares[None, :]) / share)
        same = one.trials[:, None] == other.trials[None, :]
        shared = a * _matern(np.sqrt(np.maximum(across, 0.0)))
        return np.asarray((shared + b * same) * along + c * np.outer(one.shares, other.shares))

    def _loss(
        self, theta: Array, squares: Array, apart: Array, same: Array, shares: Array, scores: Array
    ) -> tuple[float, Array]:
        """Return the negative log posterior and its gradient."""
        lengths, (share, a, b, c, noise) = np.exp(theta[:-5]), np.exp(theta[-5:])
        across = np.sqrt(np.tensordot(lengths**-2, squares, 1))
        shared, along = a * _matern(across), _matern(apart / share)
        kernel = (shared + b * same) * along + c * np.outer(shares, shares)
        kernel[np.diag_indices_from(kernel)] += noise + _JITTER
        factor = cho_factor(kernel, lower=True)
        weights = cho_solve(factor, scores)
        inverse = cho_solve(factor, np.eye(len(scores)))
        slope = inverse - np.outer(weights, weights)
        slope_x = slope * along * a * _slope(across)
        slope_s = slope * (shared + b * same) * _slope(apart / share)
        gradient = np.array(
            [
                *(np.tensordot(squares, slope_x, 2) / lengths**2),
                np.sum(slope_s * apart**2) / share**2,
                np.sum(slope * shared * along),
                b * np.sum(slope * same * along),
                c * shares @ slope @ shares,
                noise * np.trace(slope),
            ]
        )
        from_prior = (theta - self._means) / self._deviations
        loss = scores @ weights / 2 + np.log(np.diag(factor[0])).sum() + from_prior @ from_prior / 2
        return float(loss), gradient / 2 + from_prior / self._deviations


def _matern(distance: Array) -> Array:
    """Return the Matern kernel of smoothness 5/2."""
    return np.asarray((1 + _ROOT * distance + 5 / 3 * distance**2) * np.exp(-_ROOT * distance))


def _slope(distance: Array) -> Array:
    """Return the kernel's derivative by the logarithm of its length.

    It is divided by the squared distance.
    """
    return np.asarray(5 / 3 * (1 + _ROOT * distance) * np.exp(-_ROOT * distance))
