"""Metrics of the platform: their table, the contract that their mappings keep, and real programs to try both with."""
