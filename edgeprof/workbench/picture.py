"""`picture`: all views of the Workbench as one PNG, one below the other: what a saved or exported notebook shows without Python."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from typing import Any

from edgeprof.errors import EdgeprofError
from edgeprof.figures import (
    difference_picture,
    graph_picture,
    heatmap_picture,
    icicle_picture,
    memory_picture,
    pareto_picture,
    roofline_picture,
    timeline_picture,
)
from edgeprof.figures.pen import SCALE, WIDTH, Pen, draw_header, gathering
from edgeprof.figures.theme import LIGHT
from edgeprof.figures.view import ViewData
from edgeprof.records.profile import Profile
from edgeprof.workbench.selection import Selection
from edgeprof.workbench.views import Views

_HEAD, _TITLE = 54, 30
"""CSS pixels: of a view's own header, which stands once at the top, and of the line that says what a view is instead."""


def picture(
    subjects: Mapping[str, Profile], shown: str, against: str, selection: Selection, head: Mapping[str, Any], views: Views | None = None
) -> bytes:
    """The picture of what is looked at, with the selection that there is; ``head`` as of `edgeprof.workbench.told.head`.

    ``views`` is asked for the data: what it has made already is not made again.
    """
    from PIL import Image

    pen = Pen(LIGHT, _HEAD if shown in subjects else 120)
    draw_header(pen, ViewData(dict(head), b""))
    if shown not in subjects:
        pen.text(12, 84, "Nothing was measured yet when this was saved. Run the cell to measure and to look.", LIGHT.ink_muted)
        return pen.png()
    with gathering() as parts:
        pen.png()
        for title, draw in _drawn(subjects, shown, against, selection, views or Views()):
            line = Pen(LIGHT, _TITLE)
            line.box(12, 3, WIDTH - 24, 1, LIGHT.line)
            line.text(12, 18, title, LIGHT.ink, 14, bold=True)
            before = len(parts)
            line.png()
            try:
                draw()
            except EdgeprofError:
                del parts[before:]  # the live view says why; a picture of nothing helps nobody
                continue
            image = parts.pop()
            parts.append(image.crop((0, round(_HEAD * SCALE), image.width, image.height)))
    whole = Image.new("RGB", (parts[0].width, sum(part.height for part in parts)), LIGHT.surface)
    top = 0
    for part in parts:
        whole.paste(part, (0, top))
        top += part.height
    file = io.BytesIO()
    whole.quantize(255, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE).save(file, "png")
    return file.getvalue()


def _drawn(
    subjects: Mapping[str, Profile], shown: str, against: str, selection: Selection, views: Views
) -> list[tuple[str, Callable[[], bytes]]]:
    """Title of each view, and what draws it."""
    profile = subjects[shown]
    layers = selection.layers

    def data(name: str) -> ViewData:
        return views.make(name, subjects, shown, against, {})["data"]

    makers: list[tuple[str, Callable[[], bytes]]] = [("Heatmap", lambda: heatmap_picture.draw(data("heatmap"), selection=layers))]
    if len(subjects) > 1:
        makers.append(("Pareto", lambda: pareto_picture.draw(data("pareto"), selection=selection.candidates)))
    if against in subjects:
        makers.append(("Difference", lambda: difference_picture.draw(data("compare"))))
    makers += [
        ("Icicle", lambda: icicle_picture.draw(data("icicle"), selection=layers)),
        ("Roofline", lambda: roofline_picture.draw(data("roofline"), selection=layers)),
        ("Graph", lambda: graph_picture.draw(data("graph"), selection=layers)),
        ("Memory", lambda: memory_picture.draw(data("memory"), selection=layers)),
        ("Timeline", lambda: timeline_picture.draw(profile, selection=layers)),
    ]
    return makers
