"""Messages to Slack through Airflow's connection: by a bot's token (type ``slack``) or a webhook (``slackwebhook``)."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.error import URLError

from airflow.providers.slack.hooks.slack import SlackHook
from airflow.providers.slack.hooks.slack_webhook import SlackWebhookHook
from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException, AirflowNotFoundException
from slack_sdk.errors import SlackClientError
from slack_sdk.http_retry.builtin_handlers import (
    ConnectionErrorRetryHandler,
    RateLimitErrorRetryHandler,
    ServerErrorRetryHandler,
)

Message = Mapping[str, Any]  # arguments of chat.postMessage and chat.update: text, blocks, attachments

TIMEOUT_S = 5
RETRIES = 2
LONGEST_WAIT_S = 30.0

# What to do about the errors that a wrong set-up makes; {connection} and {channel} are those that were used.
REMEDIES = {
    "invalid_auth": "set a bot token (xoxb-…) as the password of {connection}",
    "not_authed": "set a bot token (xoxb-…) as the password of {connection}",
    "token_revoked": "install the app again, and set its new bot token as the password of {connection}",
    "account_inactive": "install the app again, and set its new bot token as the password of {connection}",
    "missing_scope": "give the app the scope chat:write",
    "channel_not_found": "set TAXIWAY_SLACK_CHANNEL to a channel that exists (now {channel}), and invite the app to it",
    "not_in_channel": "invite the app to the channel {channel}",
    "is_archived": "set TAXIWAY_SLACK_CHANNEL to another channel than {channel}",
    "no_service": "set the address of a webhook that exists as the password of {connection}",
    "invalid_token": "set the address of a webhook that exists as the password of {connection}",
}
GONE = {"message_not_found", "thread_not_found", "cannot_reply_to_message"}


class SlackError(Exception):
    """A message was not sent: one sentence on why, and what to do."""


class MessageGoneError(SlackError):
    """The message to update, or to reply to, was deleted."""


class Bot:
    """An app with a token: its messages can be updated, and have threads."""

    def __init__(self, connection: str, channel: str) -> None:
        """Use the connection to write to a channel: its name or id."""
        self.connection, self.channel = connection, channel
        self.hook = SlackHook(slack_conn_id=connection, timeout=TIMEOUT_S, retry_handlers=_retries())

    def post(self, message: Message, thread: tuple[str, str] | None = None, *, aloud: bool = False) -> tuple[str, str]:
        """Send a message; return the id of its channel and its ``ts``.

        Args:
            message: what to send.
            thread: the same of the message to reply to.
            aloud: show a reply in the channel too.

        Raises:
            SlackError: as its class says.
        """
        where = {"channel": thread[0], "thread_ts": thread[1]} if thread else {"channel": self.channel}
        if thread and aloud:
            where["reply_broadcast"] = True  # type: ignore[assignment]
        answer = self._call("chat.postMessage", {**where, "unfurl_links": False, "unfurl_media": False, **message})
        return str(answer["channel"]), str(answer["ts"])

    def update(self, place: tuple[str, str], message: Message) -> None:
        """Replace a message.

        Raises:
            SlackError: as its class says.
        """
        self._call("chat.update", {"channel": place[0], "ts": place[1], **message})

    def _call(self, method: str, arguments: Mapping[str, Any]) -> Any:
        with _told(self.connection, self.channel):
            return self.hook.call(method, json=arguments)


class Webhook:
    """An incoming webhook: it only sends messages, to the channel that was chosen for it."""

    def __init__(self, connection: str) -> None:
        """Use the connection."""
        self.connection = connection
        self.hook = SlackWebhookHook(slack_webhook_conn_id=connection, timeout=TIMEOUT_S, retry_handlers=_retries())

    def post(self, message: Message) -> None:
        """Send a message.

        Raises:
            SlackError: as its class says.
        """
        with _told(self.connection, "of the webhook"):
            self.hook.send_dict(dict(message))


def connect(connection: str, channel: str) -> Bot | Webhook | None:
    """Return what sends messages through a connection of Airflow's; None if there is no such connection.

    Raises:
        SlackError: its type is not Slack's, or it has no password.
    """
    try:
        found = BaseHook.get_connection(connection)
    except AirflowNotFoundException:
        return None
    if found.conn_type not in ("slack", "slackwebhook"):
        raise SlackError(
            f"The connection {connection!r} is of type {found.conn_type!r}; it must be slack (a bot's token) or "
            "slackwebhook (an incoming webhook)."
        )
    if not found.password:
        raise SlackError(f"The connection {connection!r} has no password: set the bot token or the webhook's address.")
    return Bot(connection, channel) if found.conn_type == "slack" else Webhook(connection)


class _RateLimit(RateLimitErrorRetryHandler):
    """Waits as long as Slack asks for, unless that would hold a task up for long."""

    def _can_retry(self, *, response: Any = None, **more: Any) -> bool:
        if not super()._can_retry(response=response, **more):
            return False
        headers = {name.lower(): value for name, value in response.headers.items()}
        asked = headers.get("retry-after", ["1"])
        return float(asked[0] if isinstance(asked, list) else asked) <= LONGEST_WAIT_S


def _retries() -> list[Any]:
    connection = ConnectionErrorRetryHandler(RETRIES, error_types=[URLError, OSError])  # time-outs are OSErrors
    return [connection, _RateLimit(RETRIES), ServerErrorRetryHandler(RETRIES)]


@contextmanager
def _told(connection: str, channel: str) -> Iterator[None]:
    """Turn the errors of a call into a sentence."""
    try:
        yield
    except (SlackClientError, AirflowException) as error:
        response: Any = getattr(error, "response", None)
        code = response.get("error") if isinstance(response, Mapping) or hasattr(response, "get") else None
        code = code or next((known for known in REMEDIES if known in str(error)), None)
        if code in GONE:
            raise MessageGoneError(f"Slack refused a message: {code}.") from None
        if code in REMEDIES:
            remedy = REMEDIES[code].format(connection=repr(connection), channel=channel)
            raise SlackError(f"Slack refused a message: {code}; {remedy}.") from None
        if status := re.search(r"^5\d\d$|(?<=Status Code: )5\d\d", str(getattr(response, "status_code", error))):
            raise SlackError(f"Slack answered with status {status[0]}, tried {RETRIES + 1} times.") from None
        raise SlackError(f"Slack refused a message: {code or ' '.join(str(error).split())[:300]}.") from None
    except OSError as error:
        raise SlackError(f"Slack was not reached within {TIMEOUT_S} s, tried {RETRIES + 1} times: {error}.") from None
