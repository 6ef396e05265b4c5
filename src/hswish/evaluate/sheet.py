"""A contact sheet: tiles of pictures with captions on one white page, drawn by Pillow alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from hswish.evaluate.lettering import drawable
from hswish.spec.palette import is_background, palette

INK, QUIET, GREEN, RED = (34, 38, 43), (118, 124, 132), (22, 128, 78), (196, 38, 46)
MARGIN = 24
_GAP = 16
"""between tiles"""
_SEAM = 4
"""between the pictures of a tile"""
_LINE = 18
_FONT = 14


@dataclass(frozen=True, kw_only=True)
class Tile:
    """Pictures side by side, with lines of text below."""

    pictures: Sequence[Image.Image]
    lines: Sequence[tuple[str, tuple[int, int, int]]] = ()
    """(text, colour) of each line"""


def fit(picture: Image.Image, width: int, height: int, smooth: bool = True) -> Image.Image:
    """`picture` scaled to fit into (width, height) pixels, its shape kept.

    Small pictures are enlarged without smoothing, so that their own pixels are seen; masks
    (`smooth=False`) are never smoothed, for a value between two classes would be a third.
    """
    scale = min(width / picture.width, height / picture.height)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    method = Image.Resampling.LANCZOS if smooth and scale < 1.5 else Image.Resampling.NEAREST
    return picture.resize(size, method)


def class_legend(classes: tuple[str, ...]) -> list[tuple[str, tuple[int, int, int]]]:
    """Name and colour of each class that masks are drawn with; a background is not drawn."""
    colours = palette(classes).tolist()
    return [
        (name, (colours[index][0], colours[index][1], colours[index][2]))
        for index, name in enumerate(classes)
        if not is_background([name])[0]
    ]


def contact_sheet(
    title: str,
    subtitle: str,
    tiles: Sequence[Tile],
    page_width: int,
    legend: Sequence[tuple[str, tuple[int, int, int]]] = (),
) -> Image.Image:
    """One page of `tiles` under a title, above a legend of (name, colour).

    Args:
        page_width: in pixels; as many tiles stand side by side as fit into it.
    """
    pictures = [picture for tile in tiles for picture in tile.pictures]
    panel = max((p.width for p in pictures), default=1), max((p.height for p in pictures), default=1)
    across = max((len(tile.pictures) for tile in tiles), default=1)
    lines = max((len(tile.lines) for tile in tiles), default=0)
    tile_width = across * panel[0] + (across - 1) * _SEAM
    tile_height = panel[1] + lines * _LINE + (6 if lines else 0)
    columns = max(1, min((page_width - 2 * MARGIN + _GAP) // (tile_width + _GAP), len(tiles)))
    width = max(2 * MARGIN + columns * tile_width + (columns - 1) * _GAP, 560)
    rows = -(-len(tiles) // columns)
    entries = _legend_places(legend, width)
    top = MARGIN + 56
    legend_top = top + rows * (tile_height + _GAP)
    height = legend_top + (entries[-1][1] + 30 if entries else 0) + MARGIN // 2
    page = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(page)
    draw.text((MARGIN, MARGIN - 4), drawable(title), fill=INK, font=ImageFont.load_default(20))
    draw.text((MARGIN, MARGIN + 24), drawable(subtitle), fill=QUIET, font=ImageFont.load_default(_FONT))
    for index, tile in enumerate(tiles):
        left = MARGIN + index % columns * (tile_width + _GAP)
        _draw_tile(page, tile, left, top + index // columns * (tile_height + _GAP), panel)
    for (name, colour), (x, y) in zip(legend, entries, strict=True):
        draw.rounded_rectangle((x, legend_top + y + 2, x + 14, legend_top + y + 16), 3, fill=colour)
        draw.text(
            (x + 21, legend_top + y + 9), drawable(name), fill=INK, font=ImageFont.load_default(_FONT), anchor="lm"
        )
    return page


def _draw_tile(page: Image.Image, tile: Tile, left: int, top: int, panel: tuple[int, int]) -> None:
    draw = ImageDraw.Draw(page)
    for place, picture in enumerate(tile.pictures):
        x = left + place * (panel[0] + _SEAM) + (panel[0] - picture.width) // 2
        page.paste(picture, (x, top + (panel[1] - picture.height) // 2))
    width = len(tile.pictures) * (panel[0] + _SEAM) - _SEAM
    for number, (text, colour) in enumerate(tile.lines):
        y = top + panel[1] + 6 + number * _LINE
        draw.text((left, y), _shortened(drawable(text), width), fill=colour, font=ImageFont.load_default(_FONT))


def _shortened(text: str, width: int) -> str:
    font = ImageFont.load_default(_FONT)
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _legend_places(legend: Sequence[tuple[str, tuple[int, int, int]]], width: int) -> list[tuple[int, int]]:
    """Where each entry starts, wrapped to the page's width."""
    font = ImageFont.load_default(_FONT)
    places = []
    x, y = MARGIN, 0
    for name, _ in legend:
        needed = 21 + round(font.getlength(name)) + 22
        if x > MARGIN and x + needed > width - MARGIN:
            x, y = MARGIN, y + 24
        places.append((x, y))
        x += needed
    return places
