"""What moto keeps in memory, by account and region: cleared within milliseconds; moto's own reset takes seconds."""

from copy import copy
from typing import Any

from moto.core import base_backend
from moto.iam.models import IAMBackend, ManagedPolicy
from moto.s3.models import s3_backends

_read: dict[tuple[str, str], list[ManagedPolicy]] = {}
_read_policies = IAMBackend._init_aws_policies


def install() -> None:
    """Have moto read AWS's own policies when they are asked for, and once.

    It takes 0.3 s a partition, and moto would do it for all of them at the first request of any service: it looks for
    the account of the access key.
    """
    backend: Any = IAMBackend
    backend._init_aws_policies = lambda _: []
    backend.managed_policies = property(_policies, lambda *_: None)


def clear() -> None:
    """Forget all accounts; moto makes them anew when it is asked for them, its reset makes all of them at once."""
    every: Any = base_backend.BackendDict
    for backends in every._instances:
        backends.clear()
    every._instances.clear()
    s3_backends.bucket_accounts.clear()


def _policies(backend: IAMBackend) -> dict[str, ManagedPolicy]:
    """Return the policies of an account: AWS's, and those that were added."""
    own = vars(backend)
    if "_policies" not in own:
        place = backend.account_id, backend.region_name
        if place not in _read:
            _read[place] = _read_policies(backend)
        policies = [copy(policy) for policy in _read[place]]
        for policy in policies:  # what changes
            policy.versions, policy.tags = [*policy.versions], {}
        own["_policies"] = {policy.arn: policy for policy in policies}
    found: dict[str, ManagedPolicy] = own["_policies"]
    return found
