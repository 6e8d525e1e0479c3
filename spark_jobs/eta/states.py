"""What a query keeps from batch to batch beside Spark's checkpoint, so that a batch that is done again ends the same."""

import sys

from spark_jobs.eta.serving import Folder

_SLOTS = 4


class BatchStates:
    """States after the last batches of a query: written before the batch is committed, in a few slots in turn.

    Args:
        folder: where they are.
        key: what their notes call the number of the batch, see ``read_batch``.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._kept: dict[int, bytes] = {}

    def of(self, batch: int) -> bytes | None:
        """Return the state after a batch; None if it was not done, or long ago.

        Raises:
            UnreachableError: S3 does not answer.
        """
        if batch in self._kept or not _is_new(batch, self._kept):
            return self._kept.get(batch)
        content = self._folder.read(_slot(batch))
        number, _, state = (content or b"").partition(b"\n")
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
        self._kept = {number: kept for number, kept in self._kept.items() if number == batch - 1} | {batch: state}


def _slot(batch: int) -> str:
    return f"{batch % _SLOTS}"


def _is_new(batch: int, kept: dict[int, bytes]) -> bool:
    """Return whether this process knows nothing of a batch: it has kept neither it nor the one before it."""
    return batch - 1 not in kept
