"""A web server over a folder, on this machine, that misbehaves to order."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class WebServer:
    """Serves the files below `folder`: as a context, with `url(path)`, and `requests` as (path, Range)."""

    def __init__(self, folder: Path, ranges: bool = True) -> None:
        self.folder, self.ranges = folder, ranges
        self.requests: list[tuple[str, str | None]] = []
        self.cut_after: dict[str, list[int]] = {}
        """for a path, the bytes of the body after which its next answers break off"""
        self.refuse: dict[str, list[int]] = {}
        """for a path, the status of its next answers"""
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": self}))
        self.server.daemon_threads = True

    def __enter__(self) -> WebServer:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def url(self, path: str = "") -> str:
        return f"http://127.0.0.1:{self.server.server_port}/{path}"

    def count(self, path: str) -> int:
        return sum(asked == path for asked, _ in self.requests)


class _Handler(BaseHTTPRequestHandler):
    web: WebServer

    def do_GET(self) -> None:
        path = self.path.lstrip("/")
        self.web.requests.append((path, self.headers.get("Range")))
        file = self.web.folder / path
        if refusals := self.web.refuse.get(path):
            self.answer(refusals.pop(0), b"not now")
        elif not file.is_file():
            self.answer(404, b"nothing here")
        else:
            self.send(path, file.read_bytes())

    def send(self, path: str, body: bytes) -> None:
        start, asked = 0, self.headers.get("Range")
        self.send_response(206 if asked and self.web.ranges else 200)
        if asked and self.web.ranges:
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        cuts = self.web.cut_after.get(path)
        self.wfile.write(body[start : start + cuts.pop(0)] if cuts else body[start:])
        self.close_connection = True

    def answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass
