"""The logs of one run: files while it runs, then objects on S3."""

import gzip
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

_TAIL_BYTES = 64 * 1024
_LOG_LINE = re.compile(r"^(\d\d(\d\d)?[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d\S* )?(TRACE|DEBUG|INFO|WARN|WARNING)\b")
_TRACEBACK = "Traceback (most recent call last):"


class Logs:
    """The files `controller` (what the runner did), `stdout` and `stderr` of one run."""

    def __init__(self, folder: Path) -> None:
        """Create the files, empty, in a folder that exists."""
        self._folder = folder
        self.controller, self.stdout, self.stderr = (folder / name for name in ("controller", "stdout", "stderr"))
        for path in (self.controller, self.stdout, self.stderr):
            path.touch()

    def note(self, text: str) -> None:
        """Add a line to the controller's log."""
        with self.controller.open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} INFO {text}\n")

    def failure_line(self) -> str:
        """Return the line of output that best explains why the program failed, "" if there is none."""
        line = failure_line(self.stderr)
        if not line or "SparkUserAppException" in line:
            # spark-submit redirects the standard error of Python to the standard output.
            line = failure_line(self.stdout) or line
        return line

    def upload(self, s3: Any, uri: str, names: Iterable[str]) -> None:
        """Put logs, compressed, into a folder on S3.

        Args:
            s3: boto3's client.
            uri: the folder, s3://…, without a slash at the end.
            names: the logs that belong there.
        """
        bucket, _, prefix = uri.partition("://")[2].partition("/")
        for name in names:
            body = gzip.compress((self._folder / name).read_bytes(), 1)
            s3.put_object(Bucket=bucket, Key=f"{prefix}/{name}.gz", Body=body)


def failure_line(output: Path) -> str:
    """Return the line of a program's output that best explains why it failed, "" if there is none.

    That is the line of the exception that ended it, else its last line that no logger wrote.
    """
    try:
        with output.open("rb") as file:
            file.seek(max(0, output.stat().st_size - _TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    lines = [line for line in text.splitlines() if line.strip() and not _LOG_LINE.match(line)]
    candidates = lines[::-1]
    if _TRACEBACK in lines:
        after_traceback = lines[len(lines) - candidates.index(_TRACEBACK) :]
        candidates = after_traceback + candidates
    for line in candidates:
        if not line[0].isspace():
            return line.strip()
    return lines[-1].strip() if lines else ""
