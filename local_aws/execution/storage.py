"""Files of programs: fetched from S3, or linked to where they are on this machine."""

import threading
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from local_aws.execution.launch import LaunchError

_CLIENT_LOCK = threading.Lock()


class Storage:
    """Fetches the files that a program needs into its working folder."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        """Prepare to fetch.

        Args:
            environment: the program's; its AWS_… variables say where s3:// is.
            folder: the program's working folder.
        """
        self._environment = environment
        self.folder = folder

    def fetch(self, uri: str, role: str, subfolder: str = "") -> Path:
        """Copy a file into the folder, or link to it if it is on this machine.

        Args:
            uri: an s3:// address or a local path; as on YARN, "uri#name" gives the copy another name.
            role: what the file is, for errors, e.g. "the program".
            subfolder: of the folder, for the copy.

        Raises:
            LaunchError: it does not exist or cannot be read, or `uri` is neither s3:// nor local.
        """
        uri, _, alias = uri.partition("#")
        address = urlsplit(uri)
        local = address.scheme in ("", "file")
        if not local and address.scheme not in ("s3", "s3a", "s3n"):
            raise LaunchError(f"{uri}, given as {role}, cannot be fetched: give an s3:// address or a local path.")
        target = self._target(alias or Path(address.path).name, subfolder, role)
        if local:
            if not Path(address.path).is_file():
                raise LaunchError(f"{uri}, given as {role}, does not exist.")
            target.symlink_to(Path(address.path).absolute())
            return target
        try:
            s3_client(self._environment).download_file(address.netloc, address.path.lstrip("/"), str(target))
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            reason = "does not exist" if code in ("404", "NoSuchKey", "NoSuchBucket") else f"cannot be read: {error}"
            raise LaunchError(f"{uri}, given as {role}, {reason}.") from None
        except BotoCoreError as error:
            raise LaunchError(f"{uri}, given as {role}, cannot be read: {error}") from None
        return target

    def text(self, uri: str, role: str) -> str:
        """Return the text of a file; arguments and errors as for :meth:`fetch`."""
        return self.fetch(uri, role).read_text(encoding="utf-8")

    def _target(self, name: str, subfolder: str, role: str) -> Path:
        if not name or name in (".", "..") or "/" in name:
            raise LaunchError(f"{name!r}, given as {role}, is not the name of a file.")
        target = self.folder / subfolder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        return target


def s3_client(environment: Mapping[str, str]) -> Any:
    """Return the boto3 client for the S3 that `environment` names; it may be shared between threads."""
    names = ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_DEFAULT_REGION")
    with _CLIENT_LOCK:  # making a client is not thread-safe
        return _s3_client(*(environment.get(name) for name in names))


@lru_cache(maxsize=8)
def _s3_client(endpoint: str | None, key: str | None, secret: str | None, region: str | None) -> Any:
    return boto3.session.Session(key, secret, region_name=region).client(
        "s3",
        endpoint_url=endpoint,
        # The endpoint is this very process: no proxy of the user's leads to it.
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}, proxies={} if endpoint else None),
    )
