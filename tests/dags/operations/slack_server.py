"""A Slack on loopback: chat.postMessage, chat.update and incoming webhooks, as Slack documents them."""

import json
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "xoxb-test"
HOOK = "/services/T000/B000/XXXX"
CHANNEL = "C0123456789"

SHARED = {"text", "blocks", "attachments"}
ARGUMENTS = {  # that Slack documents and we use
    "chat.postMessage": SHARED | {"channel", "thread_ts", "reply_broadcast", "unfurl_links", "unfurl_media"},
    "chat.update": SHARED | {"channel", "ts"},
    "webhook": SHARED,
}


@dataclass
class Call:
    """A call that was answered: its method and arguments, and the ``ts`` of the message that it made or changed."""

    method: str
    arguments: dict[str, Any]
    ts: str | None = None


@dataclass
class Slack:
    """The server: what it got, what it holds, and what it answers next instead of its own answer.

    Attributes:
        url: its address.
        calls: in the order in which they were answered.
        messages: ts → the message, of the channel.
        faults: what is wrong with the shape of a call, a sentence each.
        next: answers for the next calls: an error of Slack's, a status, seconds after which a 429 may be repeated
            (negative), or a number of seconds to say nothing for (a float).
        channels: those that exist, by name.
    """

    url: str
    calls: list[Call] = field(default_factory=list)
    messages: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    next: list[str | int | float] = field(default_factory=list)
    channels: dict[str, str] = field(default_factory=lambda: {"#taxiway": CHANNEL})
    lock: threading.Lock = field(default_factory=threading.Lock)
    attempts: int = 0

    def roots(self) -> list[dict[str, Any]]:
        """Return the messages of the channel that are no replies."""
        return [message for message in self.messages.values() if "thread_ts" not in message]

    def replies(self) -> list[dict[str, Any]]:
        """Return the messages that are replies."""
        return [message for message in self.messages.values() if "thread_ts" in message]


def text_of(message: dict[str, Any]) -> str:
    """Return all text of a message, as it was sent."""
    blocks = [*message["blocks"], *(block for each in message["attachments"] for block in each["blocks"])]
    return "\n".join(block["text"]["text"] for block in blocks)


@contextmanager
def running() -> Iterator[Slack]:
    """Run the server on a free port."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    slack = server.slack = Slack(f"http://127.0.0.1:{server.server_port}")  # type: ignore[attr-defined]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield slack
    finally:
        server.shutdown()
        server.server_close()


class Handler(BaseHTTPRequestHandler):
    """Answers a call."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def do_POST(self) -> None:
        """Answer as Slack does: errors of the Web API are 200 with ``ok`` false, those of webhooks are a status."""
        slack: Slack = self.server.slack  # type: ignore[attr-defined]
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with slack.lock:
            slack.attempts += 1
            planned = slack.next.pop(0) if slack.next else None
        if isinstance(planned, float):
            time.sleep(planned)
        elif isinstance(planned, int) and planned < 0:
            return self._answer(429, {"ok": False, "error": "ratelimited"}, {"Retry-After": str(-planned)})
        elif isinstance(planned, int):
            return self._answer(planned, "<html>an error of a proxy</html>")
        with slack.lock:
            if self.path.startswith("/services/"):
                if isinstance(planned, str) or self.path != HOOK:
                    return self._answer(404 if self.path != HOOK else 400, str(planned or "no_service"))
                self._check(slack, "webhook", body)
                slack.calls.append(Call("webhook", body))
                return self._answer(200, "ok")
            method = self.path.removeprefix("/api/")
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self._answer(200, {"ok": False, "error": "invalid_auth"})
            if isinstance(planned, str):
                return self._answer(200, {"ok": False, "error": planned})
            self._check(slack, method, body)
            return self._answer(200, self._do(slack, method, body))

    def _do(self, slack: Slack, method: str, body: dict[str, Any]) -> dict[str, Any]:
        if method == "chat.update":
            if body["channel"] not in slack.channels.values():
                return {"ok": False, "error": "channel_not_found"}
            if body["ts"] not in slack.messages:
                return {"ok": False, "error": "message_not_found"}
            slack.messages[body["ts"]] |= {key: body[key] for key in SHARED & body.keys()}
            slack.calls.append(Call(method, body, body["ts"]))
            return {"ok": True, "channel": body["channel"], "ts": body["ts"], "text": body["text"]}
        channel = slack.channels.get(body["channel"], body["channel"])
        if channel not in slack.channels.values():
            return {"ok": False, "error": "channel_not_found"}
        if body.get("thread_ts", "") and body["thread_ts"] not in slack.messages:
            return {"ok": False, "error": "thread_not_found"}
        ts = f"{1700000000 + len(slack.calls)}.{len(slack.messages):06d}"
        slack.messages[ts] = body
        slack.calls.append(Call(method, body, ts))
        return {"ok": True, "channel": channel, "ts": ts, "message": {"text": body["text"]}}

    def _check(self, slack: Slack, method: str, body: dict[str, Any]) -> None:
        """Note what Slack would refuse or ignore."""
        faults = slack.faults
        if not self.headers["Content-Type"].startswith("application/json"):
            faults.append(f"{method} is {self.headers['Content-Type']}")
        if unknown := body.keys() - ARGUMENTS[method]:
            faults.append(f"{method} has no arguments {sorted(unknown)}")
        if method == "chat.update" and not re.fullmatch(r"[CG][A-Z0-9]{8,}", body["channel"]):
            faults.append(f"chat.update wants the channel's id, not {body['channel']!r}")
        if not body.get("text") or len(body["text"]) > 4000:
            faults.append(f"text {body.get('text')!r} is empty or too long")
        if len(body["attachments"]) > 100:
            faults.append("more than 100 attachments")
        for blocks in [body["blocks"], *(each["blocks"] for each in body["attachments"])]:
            if len(blocks) > 50:
                faults.append(f"{len(blocks)} blocks")
            for block in blocks:
                text = block["text"]
                if block["type"] != "section" or text["type"] != "mrkdwn":
                    faults.append(f"{block['type']} of {text['type']}")
                if not 1 <= len(text["text"]) <= 3000:
                    faults.append(f"a section of {len(text['text'])} characters")
                if re.search(r"&(?!amp;|lt;|gt;)|<(?!https?://[^<>|]+\|[^<>]*>)", text["text"]):
                    faults.append(f"not escaped: {text['text'][:200]!r}")

    def _answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        try:
            self.send_response(status)
            kind = "text/html" if isinstance(body, str) else "application/json; charset=utf-8"
            for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)
        except OSError:
            pass  # the client has given up
