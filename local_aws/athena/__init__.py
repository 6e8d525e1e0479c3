"""Athena: its API and its states; queries run by DuckDB in processes of this machine."""

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from local_aws.athena.processes import Workers
    from local_aws.athena.service import Athena
    from local_aws.context import Context


def open_service(context: "Context") -> "Athena":
    """Start Athena with the queries, workgroups and statements that it has on record."""
    # Here, so that the process of queries, which imports this package too, does not load the API.
    from local_aws.athena.backend import Backend
    from local_aws.athena.queries import Queries
    from local_aws.athena.service import Athena
    from local_aws.athena.store import Store
    from local_aws.context import REGION

    backend = Backend(context.s3, context.moto)
    store = Store(context.database)
    workers = _workers(context.query_memory)
    queries = Queries(store, backend, workers, context.data / "athena", context.max_queries, context.query_memory)
    return Athena(queries, store, backend, REGION)


@cache  # what they have loaded outlives a reset of the endpoint
def _workers(memory: int) -> "Workers":
    from local_aws.athena.processes import Workers

    return Workers(memory)
