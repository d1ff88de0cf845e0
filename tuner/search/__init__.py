"""Which trial comes next and which one stops: samplers, Optuna's study, and the rungs."""
