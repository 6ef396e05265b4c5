"""A stand-in for the Hugging Face hub: as much of its HTTP as huggingface_hub needs to read and write models.

https://huggingface.co/docs/hub/api describes it; files above a few kilobytes go through Git LFS.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

TOKEN = "hf_secret"


@dataclass
class Repo:
    """One repository: its commits and what its branches and tags point to."""

    private: bool = False
    gated: bool = False
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: dict[str, bytes], message: str = "", branch: str = "main") -> str:
        """Add files to a branch; returns the commit."""
        before = self.commits.get(self.revisions.get(branch, ""), {})
        self.messages.append(message)
        sha = hashlib.sha1(f"{len(self.commits)}{branch}{message}".encode()).hexdigest()
        self.commits[sha] = {**before, **files}
        self.revisions[branch] = sha
        return sha

    def find(self, revision: str) -> str | None:
        """The commit of a branch, a tag or itself."""
        return self.revisions.get(revision) or (revision if revision in self.commits else None)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits.get(self.revisions.get("main", ""), {})


class Hub:
    """The server; `url` is what HF_ENDPOINT is set to."""

    def __init__(self) -> None:
        self.repos: dict[str, Repo] = {}
        self.uploads: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.refuse: tuple[int, str] | None = None
        """answer everything so: status, and the X-Error-Code"""
        self.is_closed = False
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self.is_closed = True
        self.server.shutdown()
        self.server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def do_HEAD(self) -> None:
        self._route("HEAD")

    def do_GET(self) -> None:
        self._route("GET")

    def do_POST(self) -> None:
        self._route("POST")

    def do_PUT(self) -> None:
        self._route("PUT")

    def _route(self, method: str) -> None:
        if self.hub.is_closed:  # a connection that is still open
            self.close_connection = True
            return
        path = urlsplit(self.path).path
        self.hub.requests.append(f"{method} {path}")
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.hub.refuse is not None:
            self._error(*self.hub.refuse)
            return
        for pattern, handler in (
            (r"POST /api/repos/create", self._create),
            (r"POST /api/validate-yaml", self._validate),
            (r"GET /api/models/([^/]+/[^/]+)(?:/revision/(.+))?", self._info),
            (r"POST /api/models/([^/]+/[^/]+)/preupload/(.+)", self._preupload),
            (r"POST /api/models/([^/]+/[^/]+)/commit/(.+)", self._commit),
            (r"POST /([^/]+/[^/]+)\.git/info/lfs/objects/batch", self._lfs_batch),
            (r"PUT /lfs/(\w+)", self._lfs_put),
            (r"(?:HEAD|GET) /([^/]+/[^/]+)/resolve/([^/]+)/(.+)", self._resolve),
        ):
            if match := re.fullmatch(pattern, f"{method} {path}"):
                handler(body, *(unquote(group) if group else None for group in match.groups()))
                return
        self._error(404, "")

    def _repo(self, name: str) -> Repo | None:
        """The repository, if whoever asks may know of it; otherwise the refusal is sent."""
        repo = self.hub.repos.get(name)
        if repo is None or (repo.private and not self._is_known()):
            self._error(401, "RepoNotFound")
            return None
        if repo.gated:
            self._error(403, "GatedRepo")
            return None
        return repo

    def _is_known(self) -> bool:
        return self.headers.get("Authorization") == f"Bearer {TOKEN}"

    # --- Reading

    def _info(self, body: bytes, name: str, revision: str | None) -> None:
        if (repo := self._repo(name)) is None:
            return
        sha = repo.find(revision or "main")
        if sha is None and (revision or repo.revisions):
            self._error(404, "RevisionNotFound")
            return
        files = [{"rfilename": path} for path in repo.commits.get(sha or "", {})]
        self._json({"_id": "0", "id": name, "sha": sha, "private": repo.private, "siblings": files, "tags": []})

    def _resolve(self, body: bytes, name: str, revision: str, path: str) -> None:
        if (repo := self._repo(name)) is None:
            return
        sha = repo.find(revision)
        if sha is None:
            self._error(404, "RevisionNotFound")
            return
        content = repo.commits[sha].get(path)
        if content is None:
            self._error(404, "EntryNotFound", {"X-Repo-Commit": sha})
            return
        headers = {"X-Repo-Commit": sha, "ETag": f'"{hashlib.sha256(content).hexdigest()}"', "Accept-Ranges": "bytes"}
        status, part = 200, content
        if match := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first = int(match[1])
            last = min(int(match[2] or len(content)), len(content) - 1)
            status, part = 206, content[first : last + 1]
            headers["Content-Range"] = f"bytes {first}-{last}/{len(content)}"
        self._answer(status, part, headers)

    # --- Writing

    def _create(self, body: bytes) -> None:
        about = json.loads(body)
        name = f"{about['organization']}/{about['name']}" if about.get("organization") else f"me/{about['name']}"
        if not self._is_known():
            self._error(401, "")
        elif name in self.hub.repos:
            self._json({"url": f"{self.hub.url}/{name}", "error": "exists"}, 409)
        else:
            repo = Repo(private=about.get("visibility") == "private" or bool(about.get("private")))
            repo.commit({".gitattributes": b"*.safetensors filter=lfs diff=lfs merge=lfs -text"}, "initial commit")
            self.hub.repos[name] = repo
            self._json({"url": f"{self.hub.url}/{name}"})

    def _validate(self, body: bytes) -> None:
        import yaml

        front = json.loads(body)["content"].split("---")[1]
        try:
            errors = [] if isinstance(yaml.safe_load(front), dict) else [{"message": "no mapping"}]
        except yaml.YAMLError as error:
            errors = [{"message": str(error)}]
        self._json({"errors": errors, "warnings": []}, 400 if errors else 200)

    def _preupload(self, body: bytes, name: str, revision: str) -> None:
        if (repo := self._writable(name, revision)) is None:
            return
        files = [
            {"path": file["path"], "uploadMode": "lfs" if file["size"] > 20_000 else "regular", "shouldIgnore": False}
            for file in json.loads(body)["files"]
        ]
        self._json({"files": files, "commitOid": repo.find(revision)})

    def _lfs_batch(self, body: bytes, name: str) -> None:
        objects = [
            {**wanted, "actions": {"upload": {"href": f"{self.hub.url}/lfs/{wanted['oid']}", "header": {}}}}
            for wanted in json.loads(body)["objects"]
        ]
        self._json({"transfer": "basic", "objects": objects})

    def _lfs_put(self, body: bytes, oid: str) -> None:
        assert hashlib.sha256(body).hexdigest() == oid
        self.hub.uploads[oid] = body
        self._json({})

    def _commit(self, body: bytes, name: str, revision: str) -> None:
        if (repo := self._writable(name, revision)) is None:
            return
        files: dict[str, bytes] = {}
        message = ""
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                message = value["summary"]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            else:
                files[value["path"]] = self.hub.uploads[value["oid"]]
        sha = repo.commit(files, message, revision)
        self._json({"commitUrl": f"{self.hub.url}/{name}/commit/{sha}", "commitOid": sha, "hookOutput": ""})

    def _writable(self, name: str, revision: str) -> Repo | None:
        repo = self._repo(name)
        if repo is not None and not self._is_known():
            self._error(403, "")
            return None
        if repo is not None and revision != "main" and repo.find(revision) is None:
            self._error(404, "RevisionNotFound")
            return None
        return repo

    # --- Answers

    def _json(self, value: Any, status: int = 200) -> None:
        self._answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        headers = {**(headers or {}), **({"X-Error-Code": code} if code else {}), "X-Error-Message": code or "refused"}
        self._answer(status, json.dumps({"error": code or "refused"}).encode(), headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        pass
