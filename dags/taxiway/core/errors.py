"""How an error ends a task: errors that a retry cannot fix fail it without one, with their own sentence."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unrecoverable(*errors: type[Exception], unless: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Fail the running task without a retry if one of these errors is raised.

    Args:
        errors: classes of errors.
        unless: subclasses of them that a retry may fix.
    """
    from airflow.sdk.exceptions import AirflowFailException

    try:
        yield
    except unless:
        raise
    except errors as error:
        raise AirflowFailException(str(error)) from None
