"""What a query keeps from batch to batch beside Spark's checkpoint, so that a batch done again ends the same."""

import sys

from spark_jobs.eta.serving import Folder

_SLOTS = 4


class BatchStates:
    """States after the last batches of a query: written before the batch is committed, in a few slots in turn.

    Args:
        folder: where they are.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._kept: dict[int, bytes] = {}

    def of(self, batch: int) -> bytes | None:
        """Return the state after a batch; None if it was not done, or long ago.

        Raises:
            UnreachableError: S3 does not answer.
        """
        if batch in self._kept or batch - 1 in self._kept:  # the batch after the last one that was kept is new
            return self._kept.get(batch)
        content = self._folder.read(_slot(batch)) or b""
        number, _, state = content.partition(b"\n")
        if number != str(batch).encode():
            return None
        self._kept[batch] = state
        return state

    def before(self, batch: int) -> bytes | None:
        """Return the state before a batch; None before the first.

        Raises:
            UnreachableError: S3 does not answer.
        """
        state = self.of(batch - 1) if batch else None
        if batch and state is None:
            sys.stderr.write(f"{self._folder.address} has no state before batch {batch}: it begins empty.\n")
        return state

    def keep(self, batch: int, state: bytes) -> None:
        """Keep the state after a batch.

        Raises:
            UnreachableError: S3 does not answer.
        """
        self._folder.write(_slot(batch), f"{batch}\n".encode() + state)
        before = {batch - 1: self._kept[batch - 1]} if batch - 1 in self._kept else {}
        self._kept = before | {batch: state}


def _slot(batch: int) -> str:
    return str(batch % _SLOTS)
