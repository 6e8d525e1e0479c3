"""Sends metrics to a StatsD exporter by UDP: lost ones are lost, and nothing waits for them."""

import socket
from collections.abc import Iterable

PREFIX = "airflow.taxiway.eta."  # as of all our metrics: Airflow's exporter maps names that begin so
_DATAGRAM = 1400  # bytes that no network cuts in two


class StatsD:
    """A sender of metrics.

    Args:
        address: ``host:port``; empty: nothing is sent.
        scorer: part of the names after ``eta.``, such as ``consumer.``.
    """

    def __init__(self, address: str, scorer: str = "") -> None:
        host, _, port = address.rpartition(":")
        self._address = (host, int(port)) if address else None
        self._socket: socket.socket | None = None
        self._prefix = PREFIX + scorer

    def count(self, name: str, number: int) -> None:
        """Add to a counter."""
        self._send([f"{name}:{number}|c"])

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge; spaces and dots of labels must be ``_``."""
        self._send([f"{name}:{value:g}|g"])

    def times(self, name: str, milliseconds: Iterable[float]) -> None:
        """Add observations to a timer."""
        self._send(f"{name}:{value:g}|ms" for value in milliseconds)

    def _send(self, metrics: Iterable[str]) -> None:
        if self._address is None:
            return
        datagram = b""
        for metric in metrics:
            line = f"{self._prefix}{metric}\n".encode()
            if len(datagram) + len(line) > _DATAGRAM:
                self._datagram(datagram)
                datagram = b""
            datagram += line
        if datagram:
            self._datagram(datagram)

    def _datagram(self, datagram: bytes) -> None:
        try:
            if self._socket is None:  # the name is looked up once, and again after a fault
                self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                self._socket.connect(self._address or ("", 0))
            self._socket.send(datagram)
        except OSError:
            if self._socket is not None:
                self._socket.close()
            self._socket = None
