"""Pictures and videos by address: fetched whole, within a bound, and only over http and https."""

from __future__ import annotations

import io
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from hswish.spec.addresses import is_web_address
from hswish.spec.errors import PictureError

_MAX_BYTES = 2**28
_TIMEOUT_S = 20
"""without a byte"""
_LONGEST_S = 120
_MAX_VIDEO_BYTES = 2**31
_LONGEST_VIDEO_S = 1800
_PART_BYTES = 2**16
_KEPT = "/%:@!$&'()*+,;=~?"


@dataclass(frozen=True)
class Address:
    """A picture or video on the web, fetched when it is its turn."""

    text: str

    @property
    def file_name(self) -> Path:
        """What to call it in a folder."""
        place = re.split(r"[?#]", self.text.partition("://")[2])[0]
        return Path(Path(unquote(place.partition("/")[2])).name or "picture")

    def read(self) -> bytes:
        """The picture's bytes.

        Raises:
            PictureError: it cannot be fetched, or is larger than any picture needs to be.
        """
        kept = io.BytesIO()
        if not self._fetch(kept, _MAX_BYTES, _LONGEST_S, "try again"):
            raise PictureError(self.text, f"more than {_MAX_BYTES:,} bytes; scale it down")
        return kept.getvalue()

    def save(self, path: Path) -> None:
        """Write a video into `path`, where its server does not let it be read in pieces.

        Raises:
            PictureError: it cannot be fetched, or is too large for that.
        """
        with path.open("wb") as file:
            if not self._fetch(file, _MAX_VIDEO_BYTES, _LONGEST_VIDEO_S, "try again, or download it first"):
                reason = f"cannot be read from its server, and has more than {_MAX_VIDEO_BYTES:,} bytes"
                raise PictureError(self.text, f"{reason}; download it first")

    def _fetch(self, file: BinaryIO, most_bytes: int, longest_s: float, remedy: str) -> bool:
        """Whether all of it went into `file`; False where it is larger than allowed."""
        try:
            request = urllib.request.Request(as_sent(self.text), headers={"User-Agent": "hswish"})
            with _OPENER.open(request, timeout=_TIMEOUT_S) as answer:
                return _copy(answer, file, most_bytes, longest_s)
        except urllib.error.HTTPError as error:
            raise PictureError(self.text, f"the server answers {error.code}; check the address") from error
        except (OSError, ValueError, HTTPException) as error:
            cause = getattr(error, "reason", None) or error
            reason = " ".join(str(getattr(cause, "strerror", None) or cause).split())[:100] or type(error).__name__
            raise PictureError(self.text, f"cannot be fetched ({reason}); {remedy}") from error


class _OnWebOnly(urllib.request.HTTPRedirectHandler):
    """Follows no server that sends on to anything else, as urllib does to ftp."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not is_web_address(newurl):
            raise urllib.error.URLError(f"the server sends on to {newurl:.80}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_OnWebOnly)


def as_sent(address: str) -> str:
    """An address as it is sent: letters beyond ASCII, and spaces, as escapes, as browsers do; escapes stay."""
    parts = urlsplit(address)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    path, query = (quote(text, safe=_KEPT) for text in (parts.path, parts.query))
    return urlunsplit((parts.scheme, host, path, query, ""))


def _copy(answer: Any, file: BinaryIO, most_bytes: int, longest_s: float) -> bool:
    """Whether all of an answer is in `file`; False where it is larger than allowed.

    Raises:
        TimeoutError: it comes so slowly that nobody would wait.
        ConnectionError: the server broke off; `read1` tells an end that comes too soon from no other.
    """
    began, size = time.monotonic(), 0
    while part := answer.read1(_PART_BYTES):
        size += len(part)
        if size > most_bytes:
            return False
        file.write(part)
        if time.monotonic() - began > longest_s:
            raise TimeoutError(f"not there after {longest_s} s")
    promised = answer.headers.get("Content-Length", "")
    if promised.isdigit() and size < int(promised):
        raise ConnectionError(f"the server broke off after {size:,} of {int(promised):,} bytes")
    return True
