"""S3 URIs, and which objects hold data."""

# Of Hadoop: S3A's and EMRFS' markers of folders, and a copy that is under way.
_MARKERS = ("/", "_$folder$", "._COPYING_")


def split(uri: str) -> tuple[str, str]:
    """Return the bucket and the key of ``s3://bucket[/key]``; the key is empty if there is none."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key


def is_data_file(path: str, size: int) -> bool:
    """Return whether an object holds data, as Spark and Athena decide it.

    Writers leave other objects beside it: markers of folders, which are empty, at any level; files of a commit
    (``_SUCCESS``, ``_temporary/…``, ``__magic/…``); checksums (``.part-0.parquet.crc``).

    Args:
        path: its key below the table's or the version's folder.
        size: in bytes.
    """
    hidden = any(part.startswith(("_", ".")) for part in path.split("/"))
    return size > 0 and not hidden and not path.endswith(_MARKERS)
