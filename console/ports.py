"""Ports of this machine."""

import socket

from console.errors import UserError


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port of the loopback interface that is free at the moment, TCP or UDP."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def require_free(port: int, variable: str, user: str) -> None:
    """Check that nothing listens on a port of 127.0.0.1.

    Args:
        port: that is needed.
        variable: that names another one.
        user: what needs it, for the message.

    Raises:
        UserError: another program listens there.
    """
    with socket.socket() as probe:
        # As servers do: a port whose last connections are still closing is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise UserError(
                f"Port {port} on 127.0.0.1, which {user} needs, is taken by another program: "
                f"end it, or choose another port with {variable}=…"
            ) from None
