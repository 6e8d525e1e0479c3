"""The server's master keys in AWS Secrets Manager, made where they are missing."""

from typing import Any

from taxiway.api_logs import keys


class MasterKeys:
    """The master keys of a server: the newest one seals, and after some objects a new one is made.

    Args:
        session: a ``boto3.Session``.
        prefix: a secret's name is this and the key's id.
        name: the first part of the ids of its keys.
        objects_per_key: objects that one key seals.
    """

    def __init__(self, session: Any, prefix: str, name: str = "server", objects_per_key: int | None = None) -> None:
        self._client = session.client("secretsmanager")
        self._prefix, self._name, self._objects = prefix, name, objects_per_key
        self._used = 0
        self._current: tuple[str, bytes] | None = None

    def for_next_object(self) -> tuple[str, bytes]:
        """Return the id of the key for an object, and the key."""
        if self._current is None:
            self._current = self._newest() or self.make()
        elif self._objects and self._used >= self._objects:
            self._current = self.make()
            self._used = 0
        self._used += 1
        return self._current

    def make(self, *, store: bool = True) -> tuple[str, bytes]:
        """Make a new key, and return its id and the key.

        Args:
            store: false for one that the pipeline cannot find.
        """
        key = keys.new_key()
        key_id = keys.id_of(self._name, key)
        if store:
            self._client.create_secret(Name=f"{self._prefix}{key_id}", SecretString=keys.as_secret(key))
        return key_id, key

    def _newest(self) -> tuple[str, bytes] | None:
        begins = f"{self._prefix}{self._name}-"
        pages = self._client.get_paginator("list_secrets").paginate(Filters=[{"Key": "name", "Values": [begins]}])
        found = [each for page in pages for each in page["SecretList"] if each["Name"].startswith(begins)]
        for secret in sorted(found, key=lambda each: each["CreatedDate"], reverse=True):
            key_id = secret["Name"].removeprefix(self._prefix)
            try:
                return key_id, keys.KeyRing(keys.secrets_manager_of(self._client), self._prefix).get(key_id)
            except keys.UnknownKey:
                continue
        return None
