"""The sampler and the stopping rule of a study in words, for a dry run."""

from tuner.config.sections import NSGA_POPULATION, AshaConfig, HyperbandConfig, MedianConfig
from tuner.config.study import StudyConfig
from tuner.search.curves import RANDOM_SHARE
from tuner.search.samplers import FIRST_TRIALS

_GP_STARTS = 10
"""Completed trials from which Optuna's Gaussian process learns."""


def describe_sampler(spec: StudyConfig) -> str:
    """Describe what a study's sampler proposes, and when it learns."""
    name, named = spec.search.sampler, len(spec.search.try_first or [])
    before = f"{named} of search.try_first, then " if named else ""
    learned = "the best of search.learn_from, then " if spec.search.learn_from else ""
    return before + learned + _describe(spec, name)


def _describe(spec: StudyConfig, name: str) -> str:
    start = f"the defaults, a Sobol sequence until {FIRST_TRIALS} trials have reported, then "
    begun = NSGA_POPULATION
    words = {
        "mixed": f"{start}by curves, by tpe and at random in turn",
        "tpe": f"{start}near the trials that stand best in the highest rungs",
        "curves": f"{start}where a curve should end best, 1 in {1 / RANDOM_SHARE:.0f} at random",
        "random": "every trial at random, because it learns nothing",
        "qmc": "a Sobol sequence, spread evenly, because it learns nothing",
        "grid": "every combination, the last parameter varying fastest",
        "gp": f"at random until {_GP_STARTS} trials are complete, then where most is expected",
        "cmaes": "a normal distribution that moves towards the better half",
        "nsga2": f"{begun} at random, then children of the trials that no other one beats",
        "nsga3": f"{begun} at random, then children of such trials, spread over the objectives",
    }
    if name in ("mixed", "tpe") and len(spec.objective) > 1:
        return "at random until 10 trials are complete, then near those that no other one beats"
    if name == "gp" and spec.stopping.rule is not None:
        return f"{words[name]}; stopped trials do not count as complete"
    if name == "tpe" and spec.stopping.rule is None:
        return f"{start}near the best trials"
    return words[name]


def describe_rule(spec: StudyConfig) -> str:
    """Return which trials the stopping rule of a study ends early."""
    rule = spec.stopping.rule
    if rule is None:
        return "none, every trial runs to its end"
    if isinstance(rule, MedianConfig):
        return "median: trials stop whose best value is worse than the median of the others' means"
    kept = f"the best 1/{rule.reduction_factor:g} go on"
    if isinstance(rule, AshaConfig) and rule.ranking == "front" and len(spec.objective) > 1:
        kept += ", ranked by fronts of all objectives"
    if isinstance(rule, HyperbandConfig):
        return f"hyperband: at each rung of {rule.brackets} brackets {kept}"
    early = f"nobody before {rule.min_trials} trials have come"
    if rule.type == "promote":
        return f"asha: trials wait at each rung, {kept}, {early}"
    return f"asha: at each rung {kept}, {early}" if rule.can_wait else f"asha: at each rung {kept}"
