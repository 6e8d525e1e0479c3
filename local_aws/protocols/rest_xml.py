"""S3's errors, which are XML documents."""

import shutil
from pathlib import Path
from xml.sax.saxutils import escape

from local_aws.protocols.wsgi import Response, response


def error_response(status: str, code: str, message: str) -> Response:
    """Return the response with this HTTP status that tells an S3 client this error."""
    document = (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Error><Code>{code}</Code><Message>{escape(message)}</Message></Error>"
    )
    return response(status, "application/xml", document.encode())


def insufficient_storage(error: Exception, folder: Path) -> Response:
    """Return the response to a request whose data the disk of `folder` did not take.

    Its status is not 500 or 503, after which SDKs would repeat the request for a while.
    """
    free = shutil.disk_usage(folder).free / 1024**2
    return error_response(
        "507 Insufficient Storage",
        "InternalError",
        f"The disk of {folder} cannot store this ({error}; {free:.0f} MiB free); what was stored before is unharmed.",
    )
