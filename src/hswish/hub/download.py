"""From a URL to a verified file: with progress, resumed where it was cut, under its name only when whole.

The transport is requests' (redirects, proxies and certificates from the environment) with
urllib3's retries (429 and 5xx, Retry-After). Ours is the file: RFC 9110's Range with
If-Range, so that a file that changed between two attempts is never glued together.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hswish.hub.cache import is_offline, locked
from hswish.hub.checksum import Checksum
from hswish.hub.partial import Partial
from hswish.hub.progress import Progress, on_terminal
from hswish.spec.errors import DownloadError, MissingPackageError

if TYPE_CHECKING:
    from requests import Response, Session

ATTEMPTS = 5
"""Connections in a row that may break without a byte gained."""
BACKOFF_S = 0.5
"""First pause between attempts; each further one is twice as long."""
RETRY_AFTER_MAX_S = 60
"""Longest pause that a server can ask for."""
_TIMEOUT_S = (10, 60)
"""To connect, and between two pieces of the body."""
_CHUNK = 2**14
"""Bytes at a time; a connection that breaks loses the last, unfinished one."""
_BUSY = (429, 500, 502, 503, 504)


def download(
    url: str, target: Path, *, checksum: Checksum | None = None, progress: Progress | None = on_terminal
) -> Path:
    """The file `target` with the bytes of `url`; returns `target`.

    A file that is there already is taken where it fits `checksum`; without one the server is
    asked whether it has changed, and the file is taken as it is where no server answers.

    Raises:
        DownloadError: not there, not reachable, cut off (running again resumes), or wrong bytes (deleted).
        SaveError: the cache is not writable, or full.
        MissingPackageError: requests is not installed.
    """
    with locked(target):
        if target.exists() and (is_offline() if checksum is None else checksum.fits(target)):
            return target
        if is_offline():
            problem = "has the wrong bytes" if target.exists() else "is not there"
            raise DownloadError(
                f"{target} {problem} and HSWISH_OFFLINE keeps it from being fetched; "
                f"unset it, or put the file there from {shown(url)}"
            )
        _Download(url, target, checksum, progress).run()
    return target


def shown(url: str) -> str:
    """`url` as messages show it: without user, password, and the signature that a query may be."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"


class _Download:
    """One file on its way."""

    def __init__(self, url: str, target: Path, checksum: Checksum | None, progress: Progress | None) -> None:
        self.url, self.target, self.checksum = url, target, checksum
        self.progress = progress or (lambda name, done, total: None)
        self.partial = Partial(target)
        self.whole = target.exists() and checksum is None
        """an older version is there, which the server may say is still the newest"""
        self.resumed = False
        """bytes of an earlier attempt are part of the file"""

    def run(self) -> None:
        """Until the file is there and verified."""
        session = _session()
        from requests import RequestException

        failures = 0
        while not self._is_complete():
            before = self.partial.size
            try:
                response = session.get(self.url, headers=self._headers(), stream=True, timeout=_TIMEOUT_S)
            except (RequestException, ValueError) as error:  # urllib3 has tried often enough, or cannot read an address
                if self.whole and not before:  # no network: what is here has to do
                    return
                raise self._gave_up(error) from error
            with response:
                if response.status_code == 304 or (self.whole and response.status_code in _BUSY):
                    return
                try:
                    self._receive(response)
                except RequestException as error:  # cut in the middle
                    failures = 0 if self.partial.size > before else failures + 1
                    if failures == ATTEMPTS:
                        raise self._gave_up(error) from error
                    time.sleep(BACKOFF_S * 2**failures)
                    continue
            if self._verify():
                break
        self.partial.finish()

    def _is_complete(self) -> bool:
        """An earlier run came to the last byte and no further; only a checksum can tell."""
        return self.checksum is not None and self.partial.size > 0 and self.checksum.fits(self.partial.path)

    def _headers(self) -> dict[str, str]:
        size, version, whole_version = self.partial.size, self.partial.version, self.partial.whole_version
        headers = {"Accept-Encoding": "identity"}  # a compressed body has no byte ranges
        if size and (version or self.checksum):  # where there is no version, the checksum finds a mixture of two
            headers |= {"Range": f"bytes={size}-", **({"If-Range": version} if version else {})}
        elif self.whole and whole_version:
            headers["If-None-Match" if whole_version.startswith('"') else "If-Modified-Since"] = whole_version
        return headers

    def _receive(self, response: Response) -> None:
        """Write the body behind what is there, or anew where the server begins from the start."""
        size, status = self.partial.size, response.status_code
        part = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        is_other_part = status == 206 and (part is None or int(part[1]) != size)
        if size and (status == 416 or is_other_part):  # not the file that was begun
            self.partial.discard()
            return
        if status not in (200, 206) or is_other_part:
            raise DownloadError(f"{shown(self.url)}: {_refusal(response, self.target)}")
        self.resumed = status == 206
        done = size if self.resumed else 0
        length = part[2] if part else response.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        with self.partial.open(go_on=self.resumed, version=_version(response)) as file:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                done += len(chunk)
                self.progress(self.target.name, done, total)

    def _verify(self) -> bool:
        """Whether the file is complete and right; False to begin again.

        Raises:
            DownloadError: the server's bytes are wrong; they are deleted.
        """
        if not self.partial.path.exists():
            return False
        if self.checksum is None or self.checksum.fits(self.partial.path):
            return True
        found = self.checksum.of(self.partial.path)
        self.partial.discard()
        if self.resumed:  # perhaps only glued from two versions
            return False
        raise DownloadError(
            f"{shown(self.url)}: wrong bytes ({self.checksum.algorithm} {found}, not {self.checksum.digits}); "
            "they were deleted, run again, or ask its publisher"
        )

    def _gave_up(self, error: Exception) -> DownloadError:
        size = self.partial.size
        if size:
            return DownloadError(
                f"{shown(self.url)}: the connection broke after {size / 1e6:.1f} MB, which stay; run again to resume"
            )
        return DownloadError(
            f"{shown(self.url)}: cannot be reached ({_reason(error)}); check the network and the proxy "
            f"(HTTPS_PROXY), or put the file at {self.target}"
        )


def _session() -> Session:
    """A session whose requests are repeated while the server cannot be reached or is busy."""
    try:
        import requests
        from requests.adapters import HTTPAdapter
        from urllib3.util import Retry
    except ModuleNotFoundError as error:
        raise MissingPackageError(str(error.name), "hub", "fetching model files") from error
    retries = Retry(
        total=ATTEMPTS - 1,
        backoff_factor=BACKOFF_S,
        status_forcelist=_BUSY,
        raise_on_status=False,
        retry_after_max=RETRY_AFTER_MAX_S,
    )
    session = requests.Session()
    session.mount("http://", HTTPAdapter(max_retries=retries))
    session.mount("https://", HTTPAdapter(max_retries=retries))
    return session


def _version(response: Response) -> str | None:
    """What If-Range and If-None-Match may name: a strong ETag, else the date of the last change."""
    etag = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else response.headers.get("Last-Modified")


def _refusal(response: Response, target: Path) -> str:
    status = response.status_code
    if status in (404, 410):
        return f"there is no such file ({status}); check the address"
    if status in (401, 403, 407):
        return f"access is refused ({status}); fetch the file by other means and put it at {target}"
    if status == 429:
        return "the server asks to wait (429, too many requests); run again later"
    if status in _BUSY:
        return f"the server is in trouble ({status}); run again later"
    return f"an unexpected answer ({status})"


def _reason(error: BaseException) -> str:
    """The cause at the bottom of requests' and urllib3's wrapping, in a few words."""
    while error.__context__ is not None:
        error = error.__context__
    return " ".join(str(error).split())[:120] or type(error).__name__
