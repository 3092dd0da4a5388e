"""Draws static pictures of views with Pillow, in CSS pixels: what a saved notebook shows where no browser draws.

A picture takes about 0.1 s where matplotlib needs seconds the first time, and every live view carries one. The font is matplotlib's.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeprof.analysis.names import visible
from edgeprof.figures.numbers import ellipsis
from edgeprof.figures.theme import Theme
from edgeprof.figures.view import ViewData

WIDTH = 1040
"""Width in CSS pixels: show the picture at this width, it has ``SCALE`` times as many pixels."""

SCALE = 1.5

_gathered: ContextVar[list[Any] | None] = ContextVar("gathered", default=None)


@contextmanager
def gathering() -> Iterator[list[Any]]:
    """Within it `Pen.png` makes no file: its images come into this list, for who makes one picture of several."""
    images: list[Any] = []
    before = _gathered.set(images)
    try:
        yield images
    finally:
        _gathered.reset(before)


class Pen:
    """Draws in CSS pixels on a white or dark ground."""

    def __init__(self, theme: Theme, height: int) -> None:
        from PIL import Image, ImageDraw

        self.theme, self.height = theme, height
        self._fonts: dict[tuple[int, bool], Any] = {}
        self._image = Image.new("RGB", (round(WIDTH * SCALE), round(height * SCALE)), theme.surface)
        self._draw = ImageDraw.Draw(self._image)

    def text(self, x: float, y: float, text: str, color: Any, size: int = 12, *, anchor: str = "lm", bold: bool = False) -> None:
        """``text`` at a point; ``anchor`` as in Pillow: l, m or r, then m for middle."""
        self._draw.text((x * SCALE, y * SCALE), visible(text), fill=color, font=self._font(size, bold), anchor=anchor)

    def width(self, text: str, size: int = 12, *, bold: bool = False) -> float:
        """How wide a text is."""
        return float(self._font(size, bold).getlength(visible(text))) / SCALE

    def box(self, x: float, y: float, width: float, height: float, color: Any) -> None:
        """A filled rectangle."""
        x0, y0, x1, y1 = (round(v * SCALE) for v in (x, y, x + width, y + height))
        self._draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), fill=color)

    def hatch(self, x: float, y: float, width: float, height: float, color: Any = None) -> None:
        """Not measured; in another colour than the theme's lines it marks what was not measured on the board."""
        self._hatch_lines(round(x * SCALE), round(y * SCALE), round(width * SCALE), round(height * SCALE), color or self.theme.line)

    def _hatch_lines(self, x: int, y: int, width: int, height: int, color: Any) -> None:
        for at in range(0, width + height, 8):
            start = (x + min(at, width), y + max(0, at - width))
            end = (x + max(0, at - height), y + min(at, height))
            self._draw.line((start, end), fill=color, width=1)

    def _font(self, size: int, bold: bool) -> Any:
        from PIL import ImageFont

        key = (size, bold)
        if key not in self._fonts:
            spec = find_spec("matplotlib")  # looked up, not imported: only its font is wanted
            path = Path(str(spec.origin if spec else "")).parent / f"mpl-data/fonts/ttf/DejaVuSans{'-Bold' * bold}.ttf"
            pixels = round(size * SCALE)
            self._fonts[key] = ImageFont.truetype(str(path), pixels) if path.exists() else ImageFont.load_default(pixels)
        return self._fonts[key]

    def png(self) -> bytes:
        """The picture as a file."""
        from PIL import Image

        gathered = _gathered.get()
        if gathered is not None:
            gathered.append(self._image)
            return b""
        file = io.BytesIO()
        # a third of the bytes; maximum coverage keeps each colour within 2 of 255, octree merges the pale ones with white
        self._image.quantize(255, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "png")
        return file.getvalue()


def draw_header(pen: Pen, view: ViewData) -> None:
    """The view's header in the topmost 54 pixels."""
    header, theme = view.meta["header"], pen.theme
    model = ellipsis(header["model"], 44)
    pen.text(12, 18, model, theme.ink, 16, bold=True)
    x = 12 + pen.width(model, 16, bold=True) + 12
    label, width = header["origin_label"], pen.width(header["origin_label"], 11)
    pen.box(x, 9, width + 16, 19, theme.line)
    pen.box(x + 1, 10, width + 14, 17, theme.surface if header["origin"] != "estimated" else theme.raised)
    if header["origin"] == "estimated":
        pen.hatch(x + 1, 10, width + 14, 17)
    pen.text(x + 8, 18.5, label, theme.warning if header["origin"] == "estimated" else theme.ink, 11)
    pen.text(12, 40, "  ·  ".join(header["facts"]), theme.ink_muted)
    pen.text(WIDTH - 12, 18, header["number"], theme.ink, 16, anchor="rm", bold=True)
    pen.text(WIDTH - 12, 40, header["number_note"], theme.ink_muted, 11, anchor="rm")


def ink_on(color: NDArray[np.uint8]) -> str:
    """Black or white, whichever can be read on this colour."""
    bright = float((color / 255) ** 2.2 @ [0.2126, 0.7152, 0.0722])
    return "#000000" if bright > 0.179 else "#ffffff"
