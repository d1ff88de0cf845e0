"""The study file: its sections, its search space, and the rules that it must keep."""
