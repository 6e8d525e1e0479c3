"""Athena's SQL, executed by DuckDB: types, functions, the translation of queries, and reading the files of tables.

It runs in a process of its own (worker.py): nothing here knows the API.
"""
