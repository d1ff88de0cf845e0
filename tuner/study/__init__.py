"""A study that runs: its trials in Ray, its rows, interruption and resume. Nothing heavy is imported here."""
