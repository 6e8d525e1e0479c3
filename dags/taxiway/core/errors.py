"""How an error ends a task: those that another try cannot help fail it at once, with their own sentence."""

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def unrecoverable(*errors: type[Exception], unless: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Fail the running task at once, without another try, where one of these errors is raised.

    Args:
        errors: classes of errors.
        unless: subclasses of them that another try may help.
    """
    from airflow.sdk.exceptions import AirflowFailException

    try:
        yield
    except unless:
        raise
    except errors as error:
        raise AirflowFailException(str(error)) from None
