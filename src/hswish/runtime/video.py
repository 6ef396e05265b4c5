"""Moving pictures as sources: video files, addresses of them, cameras; read ahead in a thread.

A frame is a `Named` with its pixels, called by its place (`clip.mp4 0:01.250`). Decoding is
PyAV's; a thread of its own decodes while the network runs, and never more than a few frames ahead.
"""

from __future__ import annotations

import queue
import re
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from hswish.runtime.addresses import Address, as_sent
from hswish.runtime.named import Named
from hswish.spec.addresses import is_web_address
from hswish.spec.errors import DataError, MissingPackageError, PictureError

VIDEO_SUFFIXES = frozenset({".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".mpg", ".mpeg"})
_CAMERA = re.compile(r"camera(?::(\d+))?")
_TICKS = 1_000_000
"""of a container's clock in a second"""
_AHEAD = 4
"""Frames decoded ahead of their reader, at most."""
_TIMEOUT_S = 20
"""without a byte, of an address"""
_UNTOLD = 2**30
"""Frames that the header of an .avi names, at least, where its writer could not go back and say how many came."""
_SLACK_S = 0.5
"""What the clock of a Matroska file may promise too much."""
_REORDERED = 3
"""Frames among which the last one of a file is, though others may be shown after it."""


class EarlyEndError(PictureError):
    """A video that ends before its header says; the frames until there are good."""


class _NotDirectlyError(PictureError):
    """An address that FFmpeg cannot read by itself: of another server, or fetched whole, it may be good."""


def is_video(text: str) -> bool:
    """Whether a source is a video by its ending, or a camera (`camera`, `camera:1`)."""
    return is_camera(text) or Path(text.split("?")[0]).suffix.lower() in VIDEO_SUFFIXES


def is_camera(text: str) -> bool:
    """Whether a source is a camera, whose frames never end."""
    return _CAMERA.fullmatch(text) is not None


def frames(text: str) -> Iterator[Named]:
    """The frames of a video or camera in order; a camera's never end.

    Where decoding ends early (`EarlyEndError`), or cannot begin, one more comes whose `read` says why: among
    several sources a bad one is left out as a bad picture is.

    Raises:
        MissingPackageError: PyAV is not installed.
        DataError: no such file.
    """
    try:
        yield from _read_ahead(_decoded(text))
    except PictureError as error:
        yield Named(text, error, Path(Path(text).name))


def expected_frames(text: str) -> int | None:
    """About how many frames a video has, by its header; None of a camera, and where the header does not tell.

    Nor does an address that has to be fetched whole: once is enough.

    Raises:
        MissingPackageError: PyAV is not installed.
        DataError: no such file.
        PictureError: no video.
    """
    if _CAMERA.fullmatch(text) is not None:
        return None
    try:
        with _opened(text, text) as container:
            stream = container.streams.video[0]
            if stream.frames >= _UNTOLD:
                return None
            if stream.frames:
                return int(stream.frames)
            if container.duration and stream.average_rate:
                return round(container.duration / _TICKS * float(stream.average_rate))
    except _NotDirectlyError:
        pass
    return None


def _decoded(text: str) -> Generator[Named]:
    try:
        yield from _decoded_at(text, text)
    except _NotDirectlyError:  # raised before the first frame only
        with tempfile.TemporaryDirectory(prefix="hswish-") as folder:
            address = Address(text)
            place = Path(folder) / f"video{address.file_name.suffix}"
            address.save(place)
            yield from _decoded_at(text, str(place))


def _decoded_at(text: str, place: str) -> Iterator[Named]:
    """The frames of a source called `text`, which is at `place`."""
    count, frame = 0, None
    stem = (Address(text).file_name if is_web_address(text) else Path(text)).stem or "camera"
    with _opened(text, place) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        last: deque[bool] = deque(maxlen=_REORDERED)
        for count, frame in enumerate(_to_the_end(text, container), start=1):
            last.append(frame.is_corrupt)
            name = f"{text} {_clock(frame, container)}"
            pixels = frame.to_ndarray(format="rgb24")  # (H, W, 3)
            if turns := round(frame.rotation / 90) % 4:  # a phone held upright; counter-clockwise
                pixels = np.ascontiguousarray(np.rot90(pixels, turns))
            yield Named(name, pixels, Path(f"{stem}-{count:06d}.png"))
        if frame is None:
            raise PictureError(text, "no frame in it can be decoded; choose another file")
        if missing_s := _missing_s(container, stream, count, frame):
            raise _early_end(text, container, frame, count, f"{missing_s:.1f} s before what its header says")
        if container.format.name == "mpeg" and any(last):  # whose header says nothing of its length
            raise _early_end(text, container, frame, count, "in the middle of a picture")


def _to_the_end(text: str, container: Any) -> Iterator[Any]:
    """The decoded frames; an error after the first of them is an early end.

    Raises:
        EarlyEndError: as said.
    """
    count, frame = 0, None
    try:
        for frame in container.decode(video=0):
            count += 1
            yield frame
    except (OSError, ValueError) as error:  # PyAV's are among them
        if frame is None:
            raise
        where = f"where its data are damaged or missing: {_reason(error)}"
        raise _early_end(text, container, frame, count, where) from error


def _early_end(text: str, container: Any, frame: Any, count: int, where: str) -> EarlyEndError:
    kept = f"{count} frames" if count > 1 else "one frame"
    remedy = "connect it again" if _CAMERA.fullmatch(text) else "copy or fetch it again"
    return EarlyEndError(text, f"ends early, after {kept} at {_clock(frame, container)} ({where}); {remedy}")


def _missing_s(container: Any, stream: Any, count: int, frame: Any) -> float:
    """Seconds that a video's header promises beyond its last frame, `frame` with number `count`; 0 where it is whole.

    A count of frames alone proves nothing: it may hold those that an edit leaves out (.mp4), and places of a steady
    clock at which no picture stands (.avi).
    """
    rate = float(stream.average_rate or 0)
    if not rate or frame.time is None:
        return 0.0
    length = float(frame.duration * frame.time_base) if frame.duration else 1 / rate
    end, kind = frame.time + length, container.format.name
    if kind == "avi":
        # FFmpeg shortens the duration, but not the count, where the file is smaller than it says itself.
        cut = count < stream.frames < _UNTOLD and (stream.duration or 0) < stream.frames
        return max(stream.frames / rate - end, 1 / rate) if cut else 0.0
    if "matroska" in kind:
        missing, slack = _tagged_s(stream) - end, max(_SLACK_S, 1.5 / rate)
    elif count < stream.frames and stream.duration:
        missing, slack = float(((stream.start_time or 0) + stream.duration) * stream.time_base) - end, 0.5 / rate
    else:
        return 0.0
    return missing if missing > slack else 0.0


def _tagged_s(stream: Any) -> float:
    """Where a Matroska file's own tag says that a stream ends, as in 00:01:02.500000000; 0 without one."""
    match = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", stream.metadata.get("DURATION", ""))
    hours, minutes, seconds = map(float, match.groups()) if match else (0.0, 0.0, 0.0)
    return 3600 * hours + 60 * minutes + seconds


@contextmanager
def _opened(text: str, place: str) -> Iterator[Any]:
    """The open container at `place`; whatever goes wrong in it, also later, becomes one line about `text`.

    Raises:
        _NotDirectlyError: `place` is an address that may be good once it is fetched whole, or else says why not.
    """
    camera = _CAMERA.fullmatch(text)
    try:
        import av
    except ModuleNotFoundError as error:
        raise MissingPackageError("av", "video", f"reading {text}") from error
    av.logging.set_level(None)  # its callback wants the interpreter while a container that closes holds it: they hang
    try:
        with _open(av, place, camera) as container:
            if not container.streams.video:
                raise PictureError(text, "holds no pictures; choose another file")
            yield container
    except (av.FFmpegError, OSError, ValueError) as error:
        if camera is not None:
            raise PictureError(text, f"no camera answers ({_reason(error)}); {_other_cameras()}") from error
        if "://" in place and isinstance(error, av.error.ExitError):
            raise PictureError(text, f"cannot be fetched (nothing came for {_TIMEOUT_S} s); try again") from error
        if is_web_address(place):
            raise _NotDirectlyError(text, f"cannot be read from its server ({_reason(error)})") from error
        remedy = "copy or fetch it again, or convert it to .mp4"
        raise PictureError(text, f"not a video that can be read ({_reason(error)}); {remedy}") from error


def _reason(error: Exception) -> str:
    """What went wrong in the library's words, on one line, without its numbers and what it logged meanwhile."""
    return " ".join(str(getattr(error, "strerror", None) or error).split())[:100]


def _other_cameras() -> str:
    """What to do where a camera does not answer: on Linux, name the others."""
    found = sorted(
        int(path.name.removeprefix("video")) for path in Path("/dev").glob("video*") if path.name[5:].isdigit()
    )
    if found:
        return f"connected are {', '.join(f'camera:{number}' for number in found)}"
    return "connect one, and close other programs that use it"


def _open(av: Any, place: str, camera: re.Match[str] | None) -> Any:
    if camera is None:
        if is_web_address(place):
            return av.open(as_sent(place), timeout=_TIMEOUT_S)
        if "://" not in place and not Path(place).is_file():
            raise DataError(f"{place}: no such file or folder; check the path")
        return av.open(place, timeout=_TIMEOUT_S if "://" in place else None)
    number = camera.group(1) or "0"
    if sys.platform == "darwin":
        return av.open(number, format="avfoundation", options={"framerate": "30"})
    if sys.platform == "win32":
        return av.open(f"video={number}", format="dshow")
    return av.open(f"/dev/video{number}", format="v4l2")


def _clock(frame: Any, container: Any) -> str:
    """When a frame is shown, as a player counts: from where the file's own clock starts (of an .mpg half a second)."""
    minutes, rest = divmod(max((frame.time or 0.0) - (container.start_time or 0) / _TICKS, 0.0), 60)
    return f"{int(minutes)}:{rest:06.3f}"


def _read_ahead(source: Generator[Named]) -> Iterator[Named]:
    """`source`, run in a thread up to `_AHEAD` items ahead; its error is raised where it stands in the order."""
    waiting: queue.Queue[Named | BaseException | None] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def put(item: Named | BaseException | None) -> bool:
        while not stopped.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            with closing(source):  # also what it holds: an open file, a fetched one
                for item in source:
                    if not put(item):
                        return
            put(None)
        except BaseException as error:
            put(error)

    thread = threading.Thread(target=read, name="hswish-decode-video", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:  # also when the consumer stops early
        stopped.set()
        thread.join(timeout=2)
