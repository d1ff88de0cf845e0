"""The laboratory of search quality: recorded curves, simulated workers, searches, tables."""
