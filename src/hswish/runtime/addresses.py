"""Pictures by address: fetched whole, within a bound, and only over http and https."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hswish.runtime.named import Named
from hswish.spec.errors import DataError, PictureError

_MAX_BYTES = 2**28
_TIMEOUT_S = 20


def is_address(text: str) -> bool:
    """Whether a source is an address of the web."""
    return text.lower().startswith(("http://", "https://"))


def fetched(address: str) -> Named:
    """The picture at an address.

    Raises:
        DataError: it cannot be fetched.
        PictureError: it is larger than any picture needs to be.
    """
    request = urllib.request.Request(address, headers={"User-Agent": "hswish"})
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
            data = answer.read(_MAX_BYTES + 1)
    except urllib.error.HTTPError as error:
        raise DataError(f"{address}: the server answers {error.code}; check the address") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise DataError(f"{address}: cannot be fetched ({' '.join(str(reason).split())[:100]}); try again") from error
    if len(data) > _MAX_BYTES:
        raise PictureError(address, f"more than {_MAX_BYTES:,} bytes; scale it down")
    name = unquote(Path(urlsplit(address).path).name) or "picture"
    return Named(address, data, Path(name))
