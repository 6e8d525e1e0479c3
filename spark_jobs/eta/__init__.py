"""Rows to learn arrival and trip times from."""
