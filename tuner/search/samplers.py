"""Samplers by name, and the seeds of every proposal and every training."""

import warnings
from hashlib import blake2b

from optuna.exceptions import ExperimentalWarning
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)

from tuner.config.study import StudyConfig


def derive_trial_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2**31) from all parts: `derive_trial_seed(study_seed, 'trial', 12)`."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(blake2b(text, digest_size=4).digest(), "big") >> 1


def make_sampler(spec: StudyConfig, seed: int) -> BaseSampler:
    """Make the sampler that a study names. The searcher enqueues a grid point by point."""
    match spec.search.sampler:
        case "tpe":
            ignored = "Argument ``(multivariate|group)``"
            warnings.filterwarnings("ignore", message=ignored, category=ExperimentalWarning)
            return TPESampler(multivariate=True, group=True, seed=seed)
        case "gp":
            return GPSampler(seed=seed)
        case "cmaes":
            return CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "nsga2":
            return NSGAIISampler(seed=seed)
        case "random" | "grid":
            return RandomSampler(seed=seed)
