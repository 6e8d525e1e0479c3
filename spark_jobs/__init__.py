"""Spark programs, published to S3 under their git commit.

From the DAGs' code they only import ``taxiway.core.contracts`` and ``taxiway.core.month``. Each pipeline's programs are
in a package of their own, which imports ``common`` and no other pipeline.
"""
