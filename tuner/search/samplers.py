"""Samplers by name, and the seeds of every proposal and every training."""

from functools import partial
from hashlib import blake2b

from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIIISampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)
from optuna.study import Study

from tuner.config.samplers import LEARNS_FROM_RUNGS
from tuner.config.sections import NSGA_POPULATION
from tuner.config.study import StudyConfig
from tuner.search.curves import RANDOM_SHARE, CurvesSampler
from tuner.search.learned import Learned
from tuner.search.optuna_internals import OrderedTpeSampler, SobolSampler, silence_experimental
from tuner.search.optuna_study import drawn_distributions
from tuner.search.schedulers import rung_epochs
from tuner.search.standings import count_reported, order_by_rungs

FIRST_TRIALS = 16
"""Trials that report before a sampler learns from rungs."""
MIXED = ("curves", "tpe", "random")
"""Samplers of `mixed`, which propose in turn.

A third is random, as in BOHB (Falkner et al. 2018, arXiv 1807.01774), because curves and rungs can mislead.
"""


def derive_trial_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2**31) from all parts: `derive_trial_seed(study_seed, 'trial', 12)`."""
    text = "/".join(map(str, parts)).encode()
    return int.from_bytes(blake2b(text, digest_size=4).digest(), "big") >> 1


def learns_from_rungs(spec: StudyConfig) -> bool:
    """Return True if the sampler learns from rungs, which takes one objective."""
    return spec.search.sampler in LEARNS_FROM_RUNGS and len(spec.objective) == 1


def proposing_sampler(spec: StudyConfig, index: int) -> str:
    """Return the name of the sampler that makes one proposal.

    Args:
        spec: The study.
        index: Number of proposals before this one.
    """
    if spec.search.sampler != "mixed":
        return spec.search.sampler
    return "tpe" if len(spec.objective) > 1 else MIXED[index % len(MIXED)]


def make_sampler(spec: StudyConfig, index: int, study: Study, learned: Learned | None = None) -> BaseSampler:
    """Make the sampler of one proposal.

    The searcher enqueues a grid point by point.

    Args:
        spec: The study.
        index: Number of proposals before this one.
        study: Optuna's study, with the trials so far.
        learned: Trials of earlier studies.
    """
    seed = derive_trial_seed(spec.search.seed, "proposal", index)
    is_early = learns_from_rungs(spec) and count_reported(study, FIRST_TRIALS) < FIRST_TRIALS
    if is_early and not (learned and learned.guides(index)):
        named = len(spec.search.try_first or [])
        return _sobol(spec, index - named - 1)  # because the defaults come before
    match proposing_sampler(spec, index):
        case "tpe" if len(spec.objective) > 1:
            silence_experimental()
            return TPESampler(multivariate=True, group=True, seed=seed)
        case "tpe":
            return OrderedTpeSampler(seed, partial(order_by_rungs, rungs=rung_epochs(spec), learned=learned))
        case "curves":
            at_random = 0.0 if spec.search.sampler == "mixed" else RANDOM_SHARE
            return CurvesSampler(spec.space, seed, rung_epochs(spec), spec.max_epochs, at_random, learned)
        case "gp":
            return GPSampler(seed=seed)
        case "cmaes":
            return CmaEsSampler(seed=seed, warn_independent_sampling=False)
        case "nsga2":
            return NSGAIISampler(seed=seed, population_size=NSGA_POPULATION)
        case "nsga3":
            silence_experimental()
            return NSGAIIISampler(seed=seed, population_size=NSGA_POPULATION)
        case "qmc":
            return _sobol(spec, index)
        case _:  # random, and grid, whose points are enqueued
            return RandomSampler(seed=seed)


def _sobol(spec: StudyConfig, index: int) -> BaseSampler:
    drawn = drawn_distributions(spec.space)
    return SobolSampler(derive_trial_seed(spec.search.seed, "sobol"), max(index, 0), drawn)
