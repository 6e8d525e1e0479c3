"""What every other package builds on: months, S3 addresses, errors, settings, data contracts, the version of the code.

Nothing here imports another package of Taxiway. The Spark programs use ``contracts`` and ``month`` too: they are in the
archive that ``spark_jobs.publish`` uploads, so what they import must be in Python's standard library.
"""
