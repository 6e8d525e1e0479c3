"""Takes whatever is posted, and shows it: one line of JSON a request on /, to be run in a pod (``python -c``)."""

import base64
import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TAKEN: list[dict[str, Any]] = []


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        taken = {
            "path": self.path,
            "encoding": self.headers.get("Content-Encoding"),
            "type": self.headers["Content-Type"],
        }
        TAKEN.append(taken | {"body": base64.b64encode(body).decode()})
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer("".join(json.dumps(each) + "\n" for each in TAKEN).encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


if __name__ == "__main__":
    ThreadingHTTPServer(("0.0.0.0", 8080), Handler).serve_forever()
