"""What every other package builds on: months, S3 addresses, errors, settings, data contracts, the version of the code,
and how CSV and SQL write texts.

Nothing here imports another package of Taxiway. The Spark programs use some of it, such as ``contracts`` and
``csv_text``: they are in the archive that ``spark_jobs.publish`` uploads, so what they import must be in Python's
standard library.
"""
