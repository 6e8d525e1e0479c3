"""How an error ends a task: not at all, or, where a retry cannot fix it, without one and with its own sentence."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class RetryableError(Exception):
    """A fault that a retry may find gone: :func:`unrecoverable` lets it pass, whatever else it is."""


@contextmanager
def harmless(log: logging.Logger, sentence: str, errors: type[Exception] = Exception) -> Iterator[None]:
    """Log errors of a class as a warning: what is only told or recorded never changes the state of a task.

    Args:
        log: of the module.
        sentence: what could not be done.
        errors: the class.
    """
    try:
        yield
    except errors:
        log.warning(sentence, exc_info=True)


@contextmanager
def unrecoverable(*errors: type[Exception]) -> Iterator[None]:
    """Fail the running task without a retry if one of these errors is raised, and is no :class:`RetryableError`."""
    from airflow.sdk.exceptions import AirflowFailException

    try:
        yield
    except RetryableError:
        raise
    except errors as error:
        raise AirflowFailException(str(error)) from None
