"""Proposals and verdicts: samplers, Optuna's study, and the rungs at which trials stop."""
