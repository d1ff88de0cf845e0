"""The event that a study waits for, in words."""

from tuner.config.sections import AshaConfig
from tuner.study.progress import Progress

STARTING = "Ray and the workers are starting …"
HALTING = "Stopping; trials in flight can go on later (Ctrl-C again ends at once)"


def describe_wait(progress: Progress) -> str | None:
    """Describe what a study waits for beside the ends of epochs.

    None if it waits for nothing else.
    """
    match progress.phase:
        case "starting":
            return STARTING
        case "stopping":
            return HALTING
        case "first epoch":
            return "waits for the first epoch"
        case "finishing" if not progress.running:
            return "waits for the last rows to be written"
    texts = [*_wait_for_slots(progress), *_wait_at_rungs(progress)]
    return "; ".join(texts) or None


def _wait_for_slots(progress: Progress) -> list[str]:
    """Describe trials that wait for a worker, or slots without trials."""
    pending = len(progress.running) - progress.begun
    if pending:
        is_full = progress.slots is not None and progress.begun >= progress.slots
        waits = "trial waits" if pending == 1 else "trials wait"
        return [f"{pending} {waits} for {'a free slot' if is_full else 'a worker'}"]
    if not progress.running:
        return ["waits for the next proposal"]
    return []


def _wait_at_rungs(progress: Progress) -> list[str]:
    """Tell of trials that wait for others at their rung."""
    rule = progress.spec.stopping.rule
    waiting = [rung for rung in progress.rungs.rungs if rung.waiting]
    if not isinstance(rule, AshaConfig) or not waiting:
        return []
    short = [rung for rung in waiting if rung.total < rule.min_trials]
    texts = [f"rung {rung.epoch} waits for {rule.min_trials - rung.total} more" for rung in short]
    turn = sum(rung.waiting for rung in waiting if rung not in short)
    if turn:
        waits = "trial waits" if turn == 1 else "trials wait"
        texts.append(f"{turn} {waits} to be among the best 1/{rule.reduction_factor:g} of a rung")
    return texts
