"""The programs that Spark runs, published to S3 under the commit they come from.

Of the DAGs' code they use ``taxiway.core.contracts`` and ``taxiway.core.month`` alone. A pipeline's programs are in a
package of its own, which imports ``common`` and no other pipeline.
"""
