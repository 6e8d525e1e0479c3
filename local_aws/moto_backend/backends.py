"""What moto keeps in memory, by account and region: cleared within milliseconds; moto's own reset takes seconds."""

from copy import copy
from typing import Any

from moto.core import base_backend
from moto.iam.models import IAMBackend, ManagedPolicy
from moto.s3.models import s3_backends

_read: dict[tuple[str, str], list[ManagedPolicy]] = {}
_read_policies = IAMBackend._init_aws_policies


def install() -> None:
    """Have moto read AWS's own policies once: it takes most of a second, for each new account."""
    IAMBackend._init_aws_policies = _policies  # type: ignore[assignment, method-assign]


def clear() -> None:
    """Forget all accounts; moto makes them anew when it is asked for them, its reset makes all of them at once."""
    every: Any = base_backend.BackendDict
    for backends in every._instances:
        backends.clear()
    every._instances.clear()
    s3_backends.bucket_accounts.clear()


def _policies(backend: IAMBackend) -> list[ManagedPolicy]:
    place = backend.account_id, backend.region_name
    if place not in _read:
        _read[place] = _read_policies(backend)
    policies = [copy(policy) for policy in _read[place]]
    for policy in policies:  # what changes
        policy.versions, policy.tags = [*policy.versions], {}
    return policies
