"""Warnings to people, through the Airflow notifier that the setting ``notifier`` names."""

from typing import Any

from taxiway.core.settings import Settings


def notify(settings: Settings, context: Any, notice: str) -> bool:
    """Send a text; return whether a notifier is configured. A notifier logs its own failures.

    Args:
        settings: ``notifier`` is its class and arguments, whose templates may use ``{{ notice }}``.
        context: of the running task.
        notice: the text.
    """
    if settings.notifier is None:
        return False
    from airflow.sdk.module_loading import import_string  # type: ignore[attr-defined]  # not in its stub

    arguments = dict(settings.notifier)
    notifier = import_string(arguments.pop("class"))(**arguments)
    notifier({**context, "notice": notice})
    return True
