"""What the programs that use Kafka share: settings of clients, waiting for a broker, its topics."""

import logging
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from console.errors import UserError
from console.patience import NotNowError, patiently, say_on_stderr

AWAY = (KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT, KafkaError._RESOLVE, KafkaError._TIMED_OUT)


class Connection:
    """Settings of the clients of one Kafka, and whether it answers, which is said once for each time that it is away.

    Args:
        bootstrap: ``host:port``, more of them by commas.
        file: settings of librdkafka, ``name=value`` a line, for a Kafka that asks for credentials; None for none.

    Raises:
        UserError: the file cannot be used.
    """

    def __init__(self, bootstrap: str, file: Path | None = None) -> None:
        self.bootstrap = bootstrap
        # What librdkafka would log is said by the callback.
        logger = logging.getLogger("kafka")
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
        self._settings = {
            "bootstrap.servers": bootstrap,
            "logger": logger,
            "error_cb": self._on_error,
            "reconnect.backoff.max.ms": 1000,
            **(_properties(file) if file else {}),
        }
        self._away = False

    def settings(self, **own: Any) -> dict[str, Any]:
        """Return the settings of a client; names of arguments have ``_`` for ``.``."""
        return self._settings | {name.replace("_", "."): value for name, value in own.items()}

    def require(self, topics: Iterable[str]) -> None:
        """Wait until Kafka answers, and check that it has the topics.

        Raises:
            UserError: it has not answered for minutes, refuses, or lacks a topic.
        """
        client = AdminClient(self.settings())

        def attempt() -> set[str]:
            try:
                return set(client.list_topics(timeout=2).topics)
            except KafkaException as error:
                if error.args[0].code() not in AWAY:
                    raise UserError(f"Kafka at {self.bootstrap} refuses: {error.args[0].str()}.") from None
                raise NotNowError(error.args[0].str().removeprefix("Failed to get metadata: ")) from None

        self._away = True  # patiently says it
        found = patiently(attempt, of=f"Kafka at {self.bootstrap}", hint="start it, or name another one.")
        self._away = False
        if missing := [topic for topic in topics if topic not in found]:
            raise UserError(
                f"Kafka at {self.bootstrap} has no topic {missing[0]}: create it, on this machine by"
                f" python -m local_kafka topics eta --bootstrap {self.bootstrap}."
            )

    def works(self) -> None:
        """Take note that Kafka has done something."""
        if self._away:
            self._away = False
            say_on_stderr(f"Kafka at {self.bootstrap} answers again.")

    def _on_error(self, error: KafkaError) -> None:
        if error.code() in AWAY and not self._away:
            self._away = True
            say_on_stderr(f"Kafka at {self.bootstrap} does not answer: waits for it, nothing is lost.")
        elif error.code() not in AWAY:
            say_on_stderr(f"Kafka at {self.bootstrap}: {error.str()}")


def _properties(file: Path) -> dict[str, str]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UserError(f"{file}, given as --kafka-config, cannot be read ({reason}).") from None
    pairs = [line.partition("=") for line in map(str.strip, lines) if line and not line.startswith("#")]
    if bad := [name for name, equals, _ in pairs if not equals]:
        raise UserError(f"{file}, given as --kafka-config, has the line {bad[0]!r}, which is not name=value.")
    return {name.strip(): value.strip() for name, _, value in pairs}


def tell(text: str) -> None:
    """Print a line to standard output at once."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
