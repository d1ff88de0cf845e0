"""A study's results: its folder, its tables, and their provenance."""
