"""A little web server whose paths misbehave as a test tells them to."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler], None]


class Web:
    """A running server.

    ``answers`` says for each path how it is answered, ``requests`` are the (method, path) seen, and an answer that
    waits ends when ``closing`` is set.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, str]] = []
        self.closing = threading.Event()

    def serve(self, path: str, content: bytes, status: int = 200, **headers: str) -> str:
        """Answer a path with a content; return its URL. Underscores in the headers' names stand for hyphens."""

        def answer(request: BaseHTTPRequestHandler) -> None:
            request.send_response(status)
            request.send_header("Content-Length", str(len(content)))
            for name, value in headers.items():
                request.send_header(name.replace("_", "-"), value)
            request.end_headers()
            if request.command == "GET":
                request.wfile.write(content)

        return self.answer(path, answer)

    def answer(self, path: str, answer: Answer) -> str:
        """Answer a path by a function; return its URL."""
        self.answers[path] = answer
        return self.url + path


@contextmanager
def web_server() -> Iterator[Web]:
    """Run the server on a free port of loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            web.requests.append((self.command, self.path))
            answer = web.answers.get(self.path)
            if answer:
                answer(self)
            else:
                self.send_error(404)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    web = Web(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield web
    finally:
        web.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()
