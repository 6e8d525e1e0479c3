"""Plays the API server that writes the encrypted logs, on real events.

Each line of a file of events (JSON lines, plain or gzip) becomes a record, which is sealed and delivered in an object
of an hour of arrival. :func:`deliver` puts each event in the hour in which it occurred; ``python -m
services.log_generator`` also writes events at a rate, as if they occurred now. Keys are kept in AWS Secrets Manager,
never in a file.
"""

from services.log_generator.delivery import Delivery, deliver
from services.log_generator.events import EventFile, EventsError, open_events
from services.log_generator.secrets import MasterKeys
from services.log_generator.targets import target_of

__all__ = [
    "Delivery",
    "EventFile",
    "EventsError",
    "MasterKeys",
    "deliver",
    "open_events",
    "target_of",
]
