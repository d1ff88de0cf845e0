"""Number, mean and variance of values, kept in three numbers."""


class Moments:
    """Number, mean and variance of values that come and go."""

    def __init__(self) -> None:
        self.count = 0
        self._sum = self._squares = 0.0

    def add(self, value: float, times: int = 1) -> None:
        """Add a value so many times."""
        self.count += times
        self._sum += times * value
        self._squares += times * value * value

    @property
    def mean(self) -> float:
        """Mean of the values, 0 without any."""
        return self._sum / self.count if self.count else 0.0

    @property
    def variance(self) -> float:
        """Variance of the values, 0 for less than two."""
        if self.count < 2:
            return 0.0
        return max(0.0, (self._squares - self.count * self.mean**2) / (self.count - 1))
