"""Downloads from a server that cuts, lies, redirects and refuses: the file is whole and right, or not there."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hswish.hub.checksum import Checksum
from hswish.hub.download import download, shown
from hswish.hub.partial import Partial
from hswish.spec.errors import DownloadError, MissingPackageError, OptionError, SaveError

from ..servers.web import Resource, Web

BODY = bytes(range(256)) * 2000  # 512 kB, no two 64 kB pieces from different offsets alike
OTHER = BODY[::-1]
CUT = 6 * 2**14
"""bytes before a connection breaks: whole pieces, for the last one is lost"""


def sha256(body: bytes, digits: int = 64) -> Checksum:
    return Checksum.parse(f"sha256:{hashlib.sha256(body).hexdigest()[:digits]}")


@pytest.fixture
def target(home: Path) -> Path:
    return home / "downloads" / "file.bin"


def leftovers(target: Path) -> set[str]:
    """Files beside the target, its lock aside."""
    return {path.name for path in target.parent.iterdir() if not path.name.endswith(".lock")}


def ranges(web: Web) -> list[str | None]:
    return [request.headers.get("range") for request in web.requests]


# --- What goes well --------------------------------------------------------------------------


def test_a_file_comes_whole_and_only_once(web: Web, target: Path) -> None:
    web.files["/file.bin"] = Resource(BODY)
    assert download(web.url("/file.bin"), target, checksum=sha256(BODY)).read_bytes() == BODY
    download(web.url("/file.bin"), target, checksum=sha256(BODY))
    assert len(web.requests) == 1
    assert leftovers(target) == {"file.bin", "file.bin.json"}


@pytest.mark.parametrize("digits", [8, 64])
def test_a_prefix_of_the_hash_will_do(web: Web, target: Path, digits: int) -> None:
    web.files["/file.bin"] = Resource(BODY)
    download(web.url("/file.bin"), target, checksum=sha256(BODY, digits))
    download(web.url("/file.bin"), target, checksum=Checksum.parse(f"md5:{hashlib.md5(BODY).hexdigest()}"))
    assert len(web.requests) == 1


def test_progress_is_told_in_bytes(web: Web, target: Path) -> None:
    web.files["/file.bin"] = Resource(BODY)
    calls: list[tuple[str, int, int | None]] = []
    download(web.url("/file.bin"), target, progress=lambda *call: calls.append(call))
    assert calls[-1] == ("file.bin", len(BODY), len(BODY))
    assert [done for _, done, _ in calls] == sorted(done for _, done, _ in calls)


def test_progress_without_a_length(web: Web, target: Path) -> None:
    web.files["/file.bin"] = Resource(BODY, says_length=False)
    calls: list[tuple[str, int, int | None]] = []
    download(web.url("/file.bin"), target, checksum=sha256(BODY), progress=lambda *call: calls.append(call))
    assert calls[-1] == ("file.bin", len(BODY), None)


def test_redirects_to_another_host(web: Web, other_web: Web, target: Path) -> None:
    web.files["/file.bin"] = Resource(b"", redirect=other_web.url("/signed?key=1").replace("127.0.0.1", "localhost"))
    other_web.files["/signed"] = Resource(BODY)
    assert download(web.url("/file.bin"), target, checksum=sha256(BODY)).read_bytes() == BODY


def test_redirects_without_end(web: Web, target: Path) -> None:
    web.files["/file.bin"] = Resource(b"", redirect="/file.bin")
    with pytest.raises(DownloadError, match="30 redirects"):
        download(web.url("/file.bin"), target)


@pytest.mark.parametrize("host", ["localhost:99999", "[::1", "a" * 100 + ".com", "a" * 300])
def test_an_address_that_no_library_can_read(web: Web, target: Path, host: str) -> None:
    web.files["/file.bin"] = Resource(b"", redirect=f"http://{host}/file.bin")
    with pytest.raises(DownloadError, match="cannot be reached"):
        download(web.url("/file.bin"), target)


def test_proxies_are_honoured(web: Web, other_web: Web, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy is asked for a host that does not exist."""
    other_web.files["/file.bin"] = Resource(BODY)
    monkeypatch.setenv("HTTP_PROXY", other_web.url(""))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    download("http://models.invalid/file.bin", target, checksum=sha256(BODY))
    assert other_web.requests[0].path == "http://models.invalid/file.bin"
    web.files["/near.bin"] = Resource(BODY)
    download(web.url("/near.bin"), target.with_name("near.bin"))
    assert len(other_web.requests) == len(web.requests) == 1


# --- Cut, and resumed -----------------------------------------------------------------------


def test_a_cut_download_goes_on_by_itself(web: Web, target: Path) -> None:
    web.files["/file.bin"] = Resource(BODY, cuts=[CUT, CUT])
    assert download(web.url("/file.bin"), target, checksum=sha256(BODY)).read_bytes() == BODY
    assert ranges(web) == [None, f"bytes={CUT}-", f"bytes={2 * CUT}-"]
    assert web.requests[1].headers["if-range"] == '"v1"'


def test_a_connection_that_falls_silent_is_given_up(web: Web, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hswish.hub.download._TIMEOUT_S", (1, 0.2))
    web.files["/file.bin"] = Resource(BODY, stalls=[CUT])
    assert download(web.url("/file.bin"), target, checksum=sha256(BODY)).read_bytes() == BODY
    assert ranges(web) == [None, f"bytes={CUT}-"]


def test_progress_goes_on_where_it_was(web: Web, target: Path) -> None:
    web.files["/file.bin"] = Resource(BODY, cuts=[300_000])
    done: list[int] = []
    download(web.url("/file.bin"), target, progress=lambda name, count, total: done.append(count))
    assert done == sorted(done)
    assert done[-1] == len(BODY)


def test_giving_up_keeps_the_bytes_for_the_next_run(web: Web, target: Path) -> None:
    web.files["/file.bin"] = Resource(BODY, cuts=[CUT] + [0] * 5)
    with pytest.raises(DownloadError, match=r"broke after 0\.1 MB, which stay; run again to resume"):
        download(web.url("/file.bin"), target)
    assert not target.exists()
    assert leftovers(target) == {"file.bin.part", "file.bin.part.json"}
    web.requests.clear()
    assert download(web.url("/file.bin"), target).read_bytes() == BODY
    assert ranges(web) == [f"bytes={CUT}-"]


def test_a_server_without_ranges_starts_again(web: Web, target: Path) -> None:
    web.files["/file.bin"] = Resource(BODY, ranges=False, cuts=[CUT, 2 * CUT])
    assert download(web.url("/file.bin"), target, checksum=sha256(BODY)).read_bytes() == BODY
    assert len(web.requests) == 3


@pytest.mark.parametrize("checksum", [None, sha256(OTHER)])
def test_a_file_that_changed_meanwhile_is_not_glued_together(web: Web, target: Path, checksum: Checksum | None) -> None:
    web.files["/file.bin"] = Resource(BODY, cuts=[CUT] + [0] * 5)
    with pytest.raises(DownloadError):
        download(web.url("/file.bin"), target)
    web.files["/file.bin"] = Resource(OTHER, etag='"v2"')
    assert download(web.url("/file.bin"), target, checksum=checksum).read_bytes() == OTHER


def test_without_a_version_only_a_checksum_lets_it_resume(web: Web, target: Path) -> None:
    web.files["/file.bin"] = Resource(BODY, etag=None, cuts=[CUT])
    assert download(web.url("/file.bin"), target).read_bytes() == BODY
    assert ranges(web) == [None, None]
    web.requests.clear()
    web.files["/file.bin"] = Resource(BODY, etag='W/"weak"', cuts=[CUT])
    again = target.with_name("again.bin")
    assert download(web.url("/file.bin"), again, checksum=sha256(BODY)).read_bytes() == BODY
    assert ranges(web) == [None, f"bytes={CUT}-"]
    assert "if-range" not in web.requests[1].headers


def test_the_date_of_change_is_a_version_too(web: Web, target: Path) -> None:
    date = "Tue, 24 Nov 2020 08:00:00 GMT"
    web.files["/file.bin"] = Resource(BODY, etag=None, last_modified=date, cuts=[CUT])
    assert download(web.url("/file.bin"), target).read_bytes() == BODY
    assert web.requests[1].headers["if-range"] == date


def test_mixed_bytes_are_found_and_fetched_anew(web: Web, target: Path) -> None:
    """A server that goes on with another file as if it were the same."""
    web.files["/file.bin"] = Resource(BODY, etag=None, cuts=[CUT] + [0] * 5)
    with pytest.raises(DownloadError):
        download(web.url("/file.bin"), target, checksum=sha256(OTHER))
    web.files["/file.bin"] = Resource(OTHER, etag=None)
    assert download(web.url("/file.bin"), target, checksum=sha256(OTHER)).read_bytes() == OTHER


def test_more_bytes_than_the_server_has(web: Web, target: Path) -> None:
    """416: what was begun is longer than what is there now."""
    web.files["/file.bin"] = Resource(BODY, cuts=[400_000] + [0] * 5)
    with pytest.raises(DownloadError):
        download(web.url("/file.bin"), target)
    web.files["/file.bin"] = Resource(BODY[:1000])
    assert download(web.url("/file.bin"), target).read_bytes() == BODY[:1000]


def test_killed_between_the_last_byte_and_the_name(web: Web, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.with_name("file.bin.part").write_bytes(BODY)
    assert download(web.url("/nothing"), target, checksum=sha256(BODY)).read_bytes() == BODY
    assert not web.requests


def test_control_c_keeps_the_bytes(web: Web, home: Path) -> None:
    web.files["/file.bin"] = Resource(BODY * 20, pause_s=0.02)
    target = home / "file.bin"
    script = (
        "import sys; from pathlib import Path; from hswish.hub.download import download\n"
        "download(sys.argv[1], Path(sys.argv[2]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script, web.url("/file.bin"), str(target)], stderr=subprocess.PIPE
    )
    partial = target.with_name("file.bin.part")
    deadline = time.monotonic() + 20
    while not (partial.exists() and partial.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    size = partial.stat().st_size
    assert 0 < size < len(BODY) * 20
    assert not target.exists()
    web.files["/file.bin"].pause_s = 0
    assert download(web.url("/file.bin"), target).read_bytes() == BODY * 20
    assert ranges(web)[-1] == f"bytes={size}-"


def test_two_processes_fetch_it_once(web: Web, home: Path) -> None:
    web.files["/file.bin"] = Resource(BODY * 4, pause_s=0.02)
    script = (
        "import sys; from pathlib import Path; from hswish.hub.download import download\n"
        "print(download(sys.argv[1], Path(sys.argv[2])).stat().st_size)"
    )
    command = [sys.executable, "-c", script, web.url("/file.bin"), str(home / "file.bin")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate(timeout=60)[0].strip() for process in both] == [str(len(BODY) * 4)] * 2
    bodies = [request for request in web.requests if "if-none-match" not in request.headers]
    assert len(bodies) == 1


# --- Refused --------------------------------------------------------------------------------


def one_line(error: pytest.ExceptionInfo[Exception]) -> str:
    text = str(error.value)
    assert "\n" not in text
    return text


def test_404(web: Web, target: Path) -> None:
    with pytest.raises(DownloadError, match="no such file \\(404\\); check the address") as error:
        download(web.url("/file.bin"), target)
    assert web.url("/file.bin") in one_line(error)
    assert not leftovers(target)


@pytest.mark.parametrize("status", [429, 503])
def test_busy_and_then_not(web: Web, target: Path, status: int) -> None:
    web.files["/file.bin"] = Resource(BODY, refusals=[(status, {"Retry-After": "1"}), (500, {})])
    began = time.monotonic()
    assert download(web.url("/file.bin"), target).read_bytes() == BODY
    assert time.monotonic() - began > 1, "Retry-After was not waited for"


@pytest.mark.parametrize(("status", "words"), [(429, "asks to wait"), (502, "in trouble")])
def test_busy_for_ever(web: Web, target: Path, status: int, words: str) -> None:
    web.files["/file.bin"] = Resource(BODY, refusals=[(status, {})] * 100)
    with pytest.raises(DownloadError, match=f"{words}.*run again later") as error:
        download(web.url("/file.bin"), target)
    assert str(status) in one_line(error)
    assert len(web.requests) == 5
    assert not leftovers(target)


def test_a_server_cannot_make_us_wait_for_hours(web: Web, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hswish.hub.download.RETRY_AFTER_MAX_S", 0.1)
    web.files["/file.bin"] = Resource(BODY, refusals=[(429, {"Retry-After": "7200"})])
    assert download(web.url("/file.bin"), target).read_bytes() == BODY


def test_wrong_bytes_are_deleted_and_said(web: Web, target: Path) -> None:
    web.files["/file.bin"] = Resource(OTHER)
    with pytest.raises(DownloadError, match=r"wrong bytes .*deleted") as error:
        download(web.url("/file.bin"), target, checksum=sha256(BODY))
    assert sha256(BODY).digits in one_line(error)
    assert not leftovers(target)


def test_a_damaged_file_in_the_cache_is_replaced(web: Web, target: Path) -> None:
    target.parent.mkdir(parents=True)
    target.write_bytes(OTHER)
    web.files["/file.bin"] = Resource(BODY)
    assert download(web.url("/file.bin"), target, checksum=sha256(BODY)).read_bytes() == BODY


def test_nobody_there(web: Web, target: Path) -> None:
    address = web.url("/file.bin")
    web.close()
    with pytest.raises(DownloadError, match=r"cannot be reached.*HTTPS_PROXY") as error:
        download(address, target)
    assert str(target) in one_line(error)  # where to put the file by hand


def test_messages_show_no_secrets() -> None:
    assert shown("https://me:secret@host:8443/a/b.pth?signature=x") == "https://host:8443/a/b.pth"


def test_no_permission_for_the_cache(web: Web, home: Path) -> None:
    home.mkdir()
    (home / "downloads").write_text("a file stands here")
    web.files["/file.bin"] = Resource(BODY)
    with pytest.raises(SaveError, match=r"cannot write to the cache .*HSWISH_HOME") as error:
        download(web.url("/file.bin"), home / "downloads" / "file.bin")
    one_line(error)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_disk_full(web: Web, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    web.files["/file.bin"] = Resource(BODY)
    monkeypatch.setattr(Partial, "open", lambda self, **about: open("/dev/full", "wb"))  # noqa: SIM115
    with pytest.raises(SaveError, match="the disk is full; free some space") as error:
        download(web.url("/file.bin"), target)
    assert str(target.parent) in one_line(error)
    assert not target.exists()


def test_without_requests(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "requests", None)
    with pytest.raises(MissingPackageError, match=re.escape("pip install 'hswish[hub]'")):
        download("http://127.0.0.1:9/file.bin", target)


# --- What is there already ------------------------------------------------------------------


def test_without_a_checksum_the_server_is_asked_for_changes(web: Web, target: Path) -> None:
    web.files["/file.bin"] = Resource(BODY)
    download(web.url("/file.bin"), target)
    download(web.url("/file.bin"), target)
    assert web.requests[1].headers["if-none-match"] == '"v1"'
    web.files["/file.bin"] = Resource(OTHER, etag='"v2"')
    assert download(web.url("/file.bin"), target).read_bytes() == OTHER
    assert download(web.url("/file.bin"), target).read_bytes() == OTHER
    assert web.requests[3].headers["if-none-match"] == '"v2"'


def test_the_old_version_is_kept_until_the_new_one_is_whole(web: Web, target: Path) -> None:
    web.files["/file.bin"] = Resource(BODY)
    download(web.url("/file.bin"), target)
    web.files["/file.bin"] = Resource(OTHER, etag='"v2"', cuts=[CUT] + [0] * 5)
    with pytest.raises(DownloadError):
        download(web.url("/file.bin"), target)
    assert target.read_bytes() == BODY
    assert download(web.url("/file.bin"), target).read_bytes() == OTHER


def test_without_a_network_it_is_taken_as_it_is(web: Web, target: Path) -> None:
    web.files["/file.bin"] = Resource(BODY)
    address = web.url("/file.bin")
    download(address, target)
    web.files["/file.bin"].refusals = [(503, {})] * 10
    assert download(address, target).read_bytes() == BODY
    web.close()
    assert download(address, target).read_bytes() == BODY


@pytest.mark.parametrize("variable", ["HSWISH_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline(web: Web, target: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    web.files["/file.bin"] = Resource(BODY)
    monkeypatch.setenv(variable, "1")
    with pytest.raises(DownloadError, match=f"is not there and .*{variable}.* keeps it") as error:
        download(web.url("/file.bin"), target)
    assert str(target) in one_line(error)
    target.write_bytes(BODY)
    assert download(web.url("/file.bin"), target) == target
    assert download(web.url("/file.bin"), target, checksum=sha256(BODY)) == target
    with pytest.raises(DownloadError, match="has the wrong bytes"):
        download(web.url("/file.bin"), target, checksum=sha256(OTHER))
    assert not web.requests
    monkeypatch.setenv(variable, "0")
    assert download(web.url("/file.bin"), target.with_name("b.bin")).read_bytes() == BODY


@pytest.mark.parametrize(
    "text", ["", "sha256:", "sha256:12", "sha1:1234567890", "sha256:xyzxyzxyz", "sha256:" + "0" * 65]
)
def test_checksums_are_checked(text: str) -> None:
    with pytest.raises(OptionError, match="a checksum is written"):
        Checksum.parse(text)
