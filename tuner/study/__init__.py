"""A running study: its trials in Ray, its rows, interruption and resume. Imports nothing heavy."""
