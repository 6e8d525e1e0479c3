"""Reads and writes the files of a version, in a local folder or on S3. Needs pyarrow alone."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import dataset, fs

from spark_jobs.eta.features import NAMES, Floats

_ROWS = 100_000  # of a batch: 25 MB of features


class Folder:
    """A folder of the lake."""

    def __init__(self, place: str) -> None:
        """Take ``s3://bucket/key`` or a local path."""
        self.place = place.rstrip("/")
        uri = self.place if "://" in self.place else Path(self.place).absolute().as_uri()
        self._files, self._path = fs.FileSystem.from_uri(uri)

    def write(self, name: str, content: bytes) -> None:
        """Write a file, replacing one of this name."""
        path = f"{self._path}/{name}"
        if isinstance(self._files, fs.LocalFileSystem):  # S3 has no folders
            self._files.create_dir(path.rpartition("/")[0])
        with self._files.open_output_stream(path) as file:
            file.write(content)

    def has(self, name: str) -> bool:
        """Return whether there is a file of this name."""
        return bool(self._files.get_file_info(f"{self._path}/{name}").type == fs.FileType.File)

    def delete(self) -> None:
        """Delete the folder, if it is there."""
        if self._files.get_file_info(self._path).type == fs.FileType.Directory:
            self._files.delete_dir(self._path)

    def batches(self, name: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a Parquet table below this folder, in order, a part at a time."""
        selector = fs.FileSelector(f"{self._path}/{name}")
        paths = sorted(file.path for file in self._files.get_file_info(selector) if file.path.endswith(".parquet"))
        for path in paths:
            yield from dataset.dataset(path, filesystem=self._files, format="parquet").to_batches(batch_size=_ROWS)

    def rows(self, name: str) -> int:
        """Return how many rows a Parquet table has."""
        return int(dataset.dataset(f"{self._path}/{name}", filesystem=self._files, format="parquet").count_rows())


def matrix(batch: pa.RecordBatch) -> Floats:
    """Return the features of a batch, as :func:`spark_jobs.eta.features.features` does."""
    return np.column_stack([batch[name].to_numpy() for name in NAMES])


def learning_rows(folder: Folder, tables: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the features, (rows, ``len(NAMES)``), and the waits in seconds, of tables, in 4 bytes a number."""
    total = sum(folder.rows(table) for table in tables)
    found, wait_s, row = np.empty((total, len(NAMES)), np.float32), np.empty(total, np.float32), 0
    for table in tables:
        for batch in folder.batches(table):
            found[row : row + len(batch)] = matrix(batch)
            wait_s[row : row + len(batch)] = batch["wait_s"].to_numpy()
            row += len(batch)
    return found, wait_s
