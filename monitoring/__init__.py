"""Metrics of the platform: table, StatsD mappings, objectives, dashboards, and real programs to test them with."""
