"""A web server on this machine that misbehaves to order."""

from __future__ import annotations

import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass
class Resource:
    """One file on the server, and how it is served."""

    body: bytes
    etag: str | None = '"v1"'
    last_modified: str | None = None
    ranges: bool = True
    """understands Range; otherwise always answers with the whole"""
    cuts: list[int] = field(default_factory=list)
    """bytes of the body after which the connection breaks, request by request"""
    stalls: list[int] = field(default_factory=list)
    """bytes of the body after which nothing comes for a second, request by request"""
    refusals: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    """status and headers of the first answers"""
    redirect: str | None = None
    says_length: bool = True
    pause_s: float = 0
    """before each 64 kB"""


@dataclass(frozen=True)
class Request:
    """What a client asked."""

    method: str
    path: str
    headers: dict[str, str]


class Web:
    """A server: `web.files["/a"] = Resource(...)`, then `web.url("/a")`, `web.requests`."""

    def __init__(self) -> None:
        self.files: dict[str, Resource] = {}
        self.requests: list[Request] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": self}))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def find(self, path: str) -> Resource | None:
        return self.files.get(path)

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class FolderWeb(Web):
    """Serves the files below `folder`: as a context, with `url(path)`, and `asked` as (path, Range)."""

    def __init__(self, folder: Path, ranges: bool = True) -> None:
        super().__init__()
        self.folder = folder
        for file in folder.rglob("*"):
            self.files[f"/{file.relative_to(folder).as_posix()}"] = Resource(b"", ranges=ranges)

    def find(self, path: str) -> Resource | None:
        """The file as it is on the disk now."""
        file, resource = self.folder / path.lstrip("/"), self.files.get(path)
        if resource is None or not file.is_file():
            return None
        resource.body = file.read_bytes()
        return resource

    def __enter__(self) -> FolderWeb:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def url(self, path: str = "") -> str:
        return super().url(f"/{path}")

    @property
    def asked(self) -> list[tuple[str, str | None]]:
        return [(request.path.lstrip("/"), request.headers.get("range")) for request in self.requests]

    def count(self, path: str) -> int:
        return sum(asked == path for asked, _ in self.asked)


class _Handler(BaseHTTPRequestHandler):
    web: Web

    def do_GET(self) -> None:
        path = re.sub(r"^http://[^/]+", "", self.path)  # as a proxy is asked
        self.web.requests.append(Request("GET", self.path, {key.lower(): value for key, value in self.headers.items()}))
        resource = self.web.find(path.split("?")[0])
        if resource is None:
            self._answer(404, b"nothing here")
        elif resource.refusals:
            status, headers = resource.refusals.pop(0)
            self._answer(status, b"not now", headers)
        elif resource.redirect is not None:
            self._answer(302, b"", {"Location": resource.redirect})
        else:
            self._send(resource)

    def _send(self, resource: Resource) -> None:
        version = resource.etag or resource.last_modified
        asked = self.headers
        if version and version in (asked.get("If-None-Match"), asked.get("If-Modified-Since")):
            self._answer(304, b"")
            return
        headers = {}
        if resource.etag:
            headers["ETag"] = resource.etag
        if resource.last_modified:
            headers["Last-Modified"] = resource.last_modified
        status, start = 200, 0
        if resource.ranges and "Range" in asked and asked.get("If-Range", version) == version:
            start = int(asked["Range"].removeprefix("bytes=").rstrip("-"))
            if start >= len(resource.body):
                self._answer(416, b"", {"Content-Range": f"bytes */{len(resource.body)}"})
                return
            status = 206
            headers["Content-Range"] = f"bytes {start}-{len(resource.body) - 1}/{len(resource.body)}"
        body = resource.body[start:]
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        if resource.says_length:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if resource.stalls:
            self.wfile.write(body[: resource.stalls.pop(0)])
            time.sleep(1)
            return
        cut = resource.cuts.pop(0) if resource.cuts else len(body)
        for index in range(0, min(cut, len(body)), 2**16):
            time.sleep(resource.pause_s)
            self.wfile.write(body[index : min(index + 2**16, cut)])
        self.wfile.flush()
        self.close_connection = True

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass
