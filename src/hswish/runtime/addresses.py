"""Pictures by address: fetched whole, within a bound, and only over http and https."""

from __future__ import annotations

import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from hswish.spec.addresses import is_web_address
from hswish.spec.errors import PictureError

_MAX_BYTES = 2**28
_TIMEOUT_S = 20
"""without a byte"""
_LONGEST_S = 120
_PART_BYTES = 2**16
_KEPT = "/%:@!$&'()*+,;=~?"


@dataclass(frozen=True)
class Address:
    """A picture on the web, fetched when it is its turn."""

    text: str

    @property
    def file_name(self) -> Path:
        """What to call the picture in a folder."""
        place = re.split(r"[?#]", self.text.partition("://")[2])[0]
        return Path(Path(unquote(place.partition("/")[2])).name or "picture")

    def read(self) -> bytes:
        """The picture's bytes.

        Raises:
            PictureError: it cannot be fetched, or is larger than any picture needs to be.
        """
        try:
            request = urllib.request.Request(_encoded(self.text), headers={"User-Agent": "hswish"})
            with _OPENER.open(request, timeout=_TIMEOUT_S) as answer:
                data = _read(answer)
        except urllib.error.HTTPError as error:
            raise PictureError(self.text, f"the server answers {error.code}; check the address") from error
        except (OSError, ValueError, HTTPException) as error:
            reason = " ".join(str(getattr(error, "reason", None) or error).split())[:100] or type(error).__name__
            raise PictureError(self.text, f"cannot be fetched ({reason}); try again") from error
        if len(data) > _MAX_BYTES:
            raise PictureError(self.text, f"more than {_MAX_BYTES:,} bytes; scale it down")
        return data


class _OnWebOnly(urllib.request.HTTPRedirectHandler):
    """Follows no server that sends on to anything else, as urllib does to ftp."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if not is_web_address(newurl):
            raise urllib.error.URLError(f"the server sends on to {newurl:.80}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_OnWebOnly)


def _encoded(address: str) -> str:
    """As it is sent: letters beyond ASCII, and spaces, as escapes, which browsers write too; escapes stay."""
    parts = urlsplit(address)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    path, query = (quote(text, safe=_KEPT) for text in (parts.path, parts.query))
    return urlunsplit((parts.scheme, host, path, query, ""))


def _read(answer: IO[bytes]) -> bytes:
    """All of it, or a little more than is allowed.

    Raises:
        TimeoutError: it comes so slowly that nobody would wait.
    """
    began, parts, size = time.monotonic(), [], 0
    while size <= _MAX_BYTES and (part := answer.read1(_PART_BYTES)):  # type: ignore[attr-defined]
        parts.append(part)
        size += len(part)
        if time.monotonic() - began > _LONGEST_S:
            raise TimeoutError(f"not there after {_LONGEST_S} s")
    return b"".join(parts)
