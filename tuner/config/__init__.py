"""The study file: its sections, its search space, and its rules."""
