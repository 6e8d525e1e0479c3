"""A plugin of the laptop's Airflow: of the requests that write to SQLite, one is answered at a time.

Airflow commits its log of a request in the API server's event loop (airflow/api_fastapi/logging/decorators.py), and
waits there for SQLite's lock. A request that holds the lock goes on to its own commit through the same loop: each waits
for the other until the database's time-out. Other databases lock rows, so only the laptop needs this.
"""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from airflow.plugins_manager import AirflowPlugin

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Message, Receive, Send], Awaitable[None]]
READS = {"GET", "HEAD", "OPTIONS"}


class OneWriter:
    """ASGI middleware in which a request that may write waits for the end of the one before it."""

    def __init__(self, app: Application) -> None:
        self._app = app
        self._turn = asyncio.Lock()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or pass on what is none."""
        if scope["type"] != "http" or scope["method"] in READS:
            await self._app(scope, receive, send)
            return
        async with self._turn:
            await self._app(scope, receive, send)


class OneWriterPlugin(AirflowPlugin):
    """Wraps every API of the server, that of the tasks too."""

    name = "taxiway_one_writer"
    fastapi_root_middlewares: list[Any] = [{"name": "one writer", "middleware": OneWriter}]  # noqa: RUF012 - as in its base
