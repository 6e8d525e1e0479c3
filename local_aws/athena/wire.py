"""Messages between the endpoint and the process of a query: JSON, each with its length."""

import json
from multiprocessing.connection import Connection
from typing import Any


def send(connection: Connection, message: Any) -> None:
    """Send a message."""
    connection.send_bytes(json.dumps(message).encode())


def receive(connection: Connection) -> Any:
    """Return the next message; raises EOFError when the other side is gone."""
    return json.loads(connection.recv_bytes())
