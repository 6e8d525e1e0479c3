"""S3 URIs."""


def split(uri: str) -> tuple[str, str]:
    """Return the bucket and the key of ``s3://bucket[/key]``; the key is empty if there is none."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return bucket, key
