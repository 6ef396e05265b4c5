"""Reading pictures: every format and mode, upright, and nothing but PictureError on hostile bytes."""

from __future__ import annotations

import contextlib
import io
import struct
import subprocess
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from hswish.spec.errors import PictureError
from hswish.spec.pictures import MAX_PIXELS, is_picture_name, read_mask, read_picture, read_size

pytestmark = pytest.mark.filterwarnings(r"ignore::UserWarning:PIL\..*")  # hostile EXIF, on purpose


def ramp(height: int = 24, width: int = 36) -> NDArray[np.uint8]:
    """A smooth RGB picture without any symmetry, (height, width, 3)."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 255 // height, x * 255 // width, (y + x) * 2], axis=-1).astype(np.uint8)


def encode(image: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def pixels(data: bytes) -> NDArray[np.uint8]:
    image = read_picture(data)
    assert image.mode == "RGB"
    return np.asarray(image)


# --- Formats and modes ---------------------------------------------------------------------


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_formats_are_exact(format: str) -> None:
    assert np.array_equal(pixels(encode(Image.fromarray(ramp()), format)), ramp())


def test_lossless_webp_is_exact() -> None:
    assert np.array_equal(pixels(encode(Image.fromarray(ramp()), "WEBP", lossless=True)), ramp())


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_lossy_formats_are_near(format: str) -> None:
    found = pixels(encode(Image.fromarray(ramp()), format, quality=95))
    assert np.abs(found.astype(int) - ramp()).mean() < 6


def test_mpo_as_phones_write_it_gives_the_first_picture() -> None:
    data = encode(Image.fromarray(ramp()), "MPO", save_all=True, append_images=[Image.new("RGB", (36, 24))], quality=95)
    assert np.abs(pixels(data).astype(int) - ramp()).mean() < 6


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"])
def test_compressed_tiff(compression: str) -> None:
    found = pixels(encode(Image.fromarray(ramp()), "TIFF", compression=compression))
    assert np.abs(found.astype(int) - ramp()).mean() < 6


def test_animated_gif_gives_the_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (pixels(data) == (255, 0, 0)).all()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "BMP", "TIFF", "GIF", "WEBP", "PPM"])
def test_grey_becomes_three_equal_channels(format: str) -> None:
    found = pixels(encode(Image.fromarray(ramp()).convert("L"), format))
    assert np.abs(found.astype(int) - found[..., :1]).max() <= (3 if format in ("JPEG", "WEBP") else 0)
    assert found.std() > 10


@pytest.mark.parametrize("format", ["PNG", "GIF", "BMP", "TIFF"])
def test_palette(format: str) -> None:
    image = Image.fromarray(ramp()).quantize(16)
    assert np.array_equal(pixels(encode(image, format)), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("format", ["PNG", "GIF", "WEBP"])
def test_palette_with_transparency_keeps_its_colours(format: str) -> None:
    image = Image.fromarray(ramp()).quantize(16)
    data = (
        encode(image, format, transparency=3, lossless=True)
        if format == "WEBP"
        else encode(image, format, transparency=3)
    )
    assert np.array_equal(pixels(data), np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_dropped(mode: str) -> None:
    image = Image.fromarray(ramp()).convert(mode)
    image.putalpha(Image.fromarray(ramp()[..., 1]))
    expected = ramp() if mode == "RGBA" else np.asarray(Image.fromarray(ramp()).convert("L").convert("RGB"))
    assert np.array_equal(pixels(encode(image, "PNG")), expected)


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk(format: str) -> None:
    found = pixels(encode(Image.fromarray(ramp()).convert("CMYK"), format))
    assert np.abs(found.astype(int) - ramp()).mean() < 8


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_other_colour_spaces_in_tiff(mode: str) -> None:
    bands = Image.fromarray(ramp()).split()
    image = Image.merge("LAB", bands) if mode == "LAB" else Image.fromarray(ramp()).convert(mode)
    assert pixels(encode(image, "TIFF")).shape == (24, 36, 3)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_keeps_the_upper_byte(format: str) -> None:
    values = (np.arange(24 * 36, dtype=np.uint32) * 65535 // (24 * 36 - 1)).astype(np.uint16).reshape(24, 36)
    found = pixels(encode(Image.fromarray(values), format))
    assert np.array_equal(found[..., 0], values >> 8)
    assert (found[..., 0] == found[..., 2]).all()


def test_small_integers_of_32_bits_are_not_shifted_to_black() -> None:
    grey = ramp()[..., 0]
    assert np.array_equal(pixels(encode(Image.fromarray(grey.astype(np.int32)), "TIFF"))[..., 1], grey)
    wide = grey.astype(np.int32) * 257
    assert np.array_equal(pixels(encode(Image.fromarray(wide), "TIFF"))[..., 1], grey)
    dark = grey.astype(np.uint16)  # 16 bits in the file: the upper byte, however dark
    assert not pixels(encode(Image.fromarray(dark), "TIFF")).any()


def test_big_endian_sixteen_bit_tiff() -> None:
    values = np.arange(0, 6000, 100, dtype=">u2").reshape(6, 10)
    entries = [
        (256, 3, 10),
        (257, 3, 6),
        (258, 3, 16),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (278, 3, 6),
        (279, 4, 120),
    ]
    directory = struct.pack(">H", len(entries))
    for tag, kind, value in entries:
        directory += struct.pack(">HHI", tag, kind, 1) + struct.pack(
            ">HH" if kind == 3 else ">I", *((value, 0) if kind == 3 else (value,))
        )
    data = b"MM\0*" + struct.pack(">I", 8 + 120) + values.tobytes() + directory + struct.pack(">I", 0)
    assert np.array_equal(pixels(data)[..., 0], values.astype(np.uint16) >> 8)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP"])
def test_one_bit(format: str) -> None:
    bits = ramp()[..., 0] > 100
    assert np.array_equal(pixels(encode(Image.fromarray(bits), format))[..., 0], bits * np.uint8(255))


def test_float_tiff_in_either_scale() -> None:
    unit = np.linspace(0, 1, 24 * 36, dtype=np.float32).reshape(24, 36)
    for values in (unit, unit * 255):
        assert np.abs(pixels(encode(Image.fromarray(values), "TIFF"))[..., 0] - unit * 255).max() <= 1


def test_float_tiff_with_nan_and_infinity() -> None:
    values = np.array([[np.nan, np.inf], [-np.inf, 7.0]], np.float32)
    assert pixels(encode(Image.fromarray(values), "TIFF"))[..., 0].tolist() == [[0, 255], [0, 7]]


# --- Orientation ---------------------------------------------------------------------------


def turned(array: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """What EXIF orientation 1 to 8 asks of stored rows, spelled out in numpy."""
    return {
        1: array,
        2: array[:, ::-1],
        3: array[::-1, ::-1],
        4: array[::-1],
        5: array.swapaxes(0, 1),
        6: np.rot90(array, -1),
        7: array[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(array, 1),
    }[orientation]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "LZW"])
def test_exif_orientation(format: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 95}, "WEBP": {"lossless": True}, "LZW": {"compression": "tiff_lzw"}}.get(format, {})
    kind = "TIFF" if format == "LZW" else format
    data = encode(Image.fromarray(ramp()), kind, exif=exif, **options)
    image = read_picture(data)
    expected = turned(ramp(), orientation)
    assert np.asarray(image).shape == expected.shape
    assert np.abs(np.asarray(image).astype(int) - expected).mean() < (6 if format == "JPEG" else 1e-9)
    assert read_size(data) == expected.shape[:2]
    # Turned once: nothing is left that would turn it again.
    assert np.array_equal(np.asarray(ImageOps.exif_transpose(image)), np.asarray(image))


@pytest.mark.parametrize(
    "block", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12"]
)
def test_damaged_exif_does_not_cost_the_picture(block: bytes) -> None:
    data = encode(Image.fromarray(ramp()), "JPEG", exif=block)
    assert read_picture(data).size == (36, 24)
    assert read_size(data) == (24, 36)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_out_of_range_is_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(Image.fromarray(ramp()), "PNG", exif=exif)
    assert np.array_equal(pixels(data), ramp())


# --- Sources -------------------------------------------------------------------------------


def test_path_bytes_and_file_give_the_same(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(ramp()).save(path)
    with open(path, "rb") as file:
        for source in (path, str(path), path.read_bytes(), file):
            assert np.array_equal(np.asarray(read_picture(source)), ramp())


def test_the_source_can_be_removed_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "a.bmp"  # uncompressed: Pillow maps such files into memory
    Image.fromarray(ramp()).save(path)
    image = read_picture(path)
    path.write_bytes(b"")
    assert np.array_equal(np.asarray(image), ramp())


@pytest.mark.parametrize(("name", "expected"), [("a.JPG", True), ("b.tiff", True), ("c.txt", False), ("jpg", False)])
def test_picture_names(name: str, expected: bool) -> None:
    assert is_picture_name(name) is expected


# --- Refusals ------------------------------------------------------------------------------


def refusal(source: bytes | Path, name: str | None = None) -> str:
    with pytest.raises(PictureError) as caught:
        read_picture(source, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_error_names_file_and_cause(tmp_path: Path) -> None:
    empty, text = tmp_path / "empty.jpg", tmp_path / "notes.jpg"
    empty.touch()
    text.write_text("not a picture at all\n" * 20)
    assert "empty.jpg: the file is empty" in refusal(empty)
    assert "notes.jpg: not a picture" in refusal(text)
    assert "no such file" in refusal(tmp_path / "missing.png")
    assert "is a folder" in refusal(tmp_path)
    assert refusal(b"", "frame 7").startswith("frame 7: ")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "BMP"])
def test_truncated_at_any_length(format: str) -> None:
    data = encode(Image.fromarray(ramp(16, 16)), format)
    whole = pixels(data)
    for length in range(0, len(data) - 1, 3):
        with contextlib.suppress(PictureError):  # else only the end marker was cut, and no pixel is lost
            assert np.array_equal(pixels(data[:length]), whole)


def test_other_programs_are_never_started() -> None:
    """EPS would call Ghostscript; it is not among the formats."""
    assert "not a picture" in refusal(encode(Image.fromarray(ramp()), "EPS"))


def png_header(width: int, height: int) -> bytes:
    """A PNG that claims (height, width) pixels and holds a few compressed zeros."""
    chunks = b""
    for kind, body in (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(bytes(10_000_000), 9)),
        (b"IEND", b""),
    ):
        chunks += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return b"\x89PNG\r\n\x1a\n" + chunks


@pytest.mark.parametrize("read", [read_picture, read_mask, read_size])
def test_a_decompression_bomb_is_refused_on_its_header(read: object) -> None:
    data = png_header(60_000, 60_000)
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(PictureError, match="more pixels than the"):
            read(data, "bomb.png")  # type: ignore[operator]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - start < 1
    assert peak < 2e6


def test_bombs_in_other_headers() -> None:
    gif = b"GIF89a" + struct.pack("<HH", 65535, 65535) + bytes(3) + b"," + bytes(20)
    bmp = bytearray(encode(Image.new("RGB", (4, 4)), "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    for data in (gif, bytes(bmp), b"P6 60000 60000 255\n" + bytes(100)):
        assert "more pixels" in refusal(data)


def test_the_limit_holds_though_the_user_lifted_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert "more pixels" in refusal(png_header(60_000, 60_000))


def test_importing_leaves_pillows_own_guard_in_force() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None
    assert 2 * Image.MAX_IMAGE_PIXELS <= MAX_PIXELS + 1


@pytest.mark.parametrize("read", [read_picture, read_mask])
def test_what_exceeds_the_memory_left_is_refused(read: object, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(Image.new("L", (3000, 2000)), "PNG")  # 6 million bytes, and 24 as RGB
    monkeypatch.setattr("hswish.spec.pictures.free_bytes", lambda: 29_000_000)
    with pytest.raises(PictureError, match=r"3000x2000 pixels take 30 MB, 29 MB are free; scale it down"):
        read(data, "large.png")  # type: ignore[operator]
    assert read_size(data) == (2000, 3000)
    assert read_picture(encode(Image.new("RGB", (1000, 1000)), "PNG")).size == (1000, 1000)  # small: nobody asks
    for left in (31_000_000, None):
        monkeypatch.setattr("hswish.spec.pictures.free_bytes", lambda left=left: left)
        read(data)  # type: ignore[operator]


def test_running_out_of_memory_is_one_line(tmp_path: Path) -> None:
    Image.new("L", (12_000, 9_000)).save(tmp_path / "large.png")
    code = (
        "import resource; from hswish.spec.pictures import read_picture\n"
        "resource.setrlimit(resource.RLIMIT_AS, (400_000_000, 400_000_000))\n"
        f"read_picture({str(tmp_path / 'large.png')!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "PictureError" in done.stderr.splitlines()[-1]
    assert done.stderr.rstrip().endswith("large.png: does not fit into memory; scale it down")


# --- Masks ---------------------------------------------------------------------------------

INDICES = (np.arange(24 * 36) % 12).astype(np.uint8).reshape(24, 36)


@pytest.mark.parametrize("format", ["PNG", "BMP", "TIFF"])
def test_grey_mask(format: str) -> None:
    found = read_mask(encode(Image.fromarray(INDICES), format))
    assert found.dtype == np.uint8
    assert np.array_equal(found, INDICES)


def test_palette_mask_gives_indices_not_colours() -> None:
    image = Image.new("P", (36, 24))
    image.putdata(INDICES.ravel().tolist())
    image.putpalette(np.random.default_rng(0).integers(0, 256, 768).tolist())
    for bits in (8, 4):
        assert np.array_equal(read_mask(encode(image, "PNG", bits=bits)), INDICES)


def test_one_bit_mask_gives_zero_and_one() -> None:
    assert np.array_equal(read_mask(encode(Image.fromarray(INDICES > 5), "PNG")), INDICES > 5)


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_mask_with_small_values(format: str) -> None:
    assert np.array_equal(read_mask(encode(Image.fromarray(INDICES.astype(np.uint16)), format)), INDICES)


def test_sixteen_bit_mask_beyond_a_byte_is_refused() -> None:
    with pytest.raises(PictureError, match="one class index a pixel"):
        read_mask(encode(Image.fromarray(INDICES.astype(np.uint16) + 250), "PNG"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colour_mask_is_refused(mode: str) -> None:
    with pytest.raises(PictureError, match=r"m\.png: a mask holds one class index a pixel"):
        read_mask(encode(Image.fromarray(ramp()).convert(mode), "PNG"), "m.png")


def test_mask_is_upright_as_its_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert np.array_equal(read_mask(encode(Image.fromarray(INDICES), "PNG", exif=exif)), turned(INDICES, 6))


def test_empty_and_missing_masks(tmp_path: Path) -> None:
    for source in (b"", b"text", tmp_path / "missing.png"):
        with pytest.raises(PictureError):
            read_mask(source)


# --- Fuzz ----------------------------------------------------------------------------------


def _samples() -> list[bytes]:
    small = Image.fromarray(ramp(9, 13))
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "description"
    return [
        *(encode(small, format, exif=exif) for format in ("JPEG", "PNG", "WEBP", "TIFF")),
        *(encode(small, format) for format in ("BMP", "GIF", "PPM")),
        encode(small, "TIFF", compression="tiff_lzw"),
        encode(small.quantize(8), "PNG", transparency=1),
        encode(Image.fromarray(INDICES.astype(np.uint16)), "PNG"),
        encode(small.convert("CMYK"), "JPEG"),
    ]


SAMPLES = _samples()


@given(
    sample=st.sampled_from(SAMPLES),
    edits=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), min_size=1, max_size=12),
    cut=st.one_of(st.none(), st.floats(0, 1)),
    junk=st.binary(max_size=16),
)
def test_mutated_files_raise_nothing_but_picture_error(
    sample: bytes, edits: list[tuple[float, int]], cut: float | None, junk: bytes
) -> None:
    data = bytearray(sample)
    for place, value in edits:
        # Squared: headers, where the damage is interesting, lie at the start.
        data[int(place * place * len(data))] = value
    if cut is not None:
        data = data[: int(cut * len(data))]
    for read in (read_picture, read_mask, read_size):
        with contextlib.suppress(PictureError):
            read(bytes(data) + junk)


@given(
    st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"II*\0", b"BM"])
)
def test_random_bytes_raise_nothing_but_picture_error(data: bytes, magic: bytes) -> None:
    with pytest.raises(PictureError):
        read_picture(magic + data)
