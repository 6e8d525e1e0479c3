"""The template of a new pipeline, and the command that fills it in: ``python -m templates``."""
