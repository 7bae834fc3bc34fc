"""The panel beside the scene: status, people, plots, buttons and the live picture."""

import html
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from refit_rt.view.figure import colour_of
from refit_rt.view.scene import Row

if TYPE_CHECKING:
    from viser import GuiHtmlHandle, GuiImageHandle, PanelHandle, ViserServer

PLOTTED_S = 30.0
EVERYTHING = "all"
PLOT_PX = 120
FROM_ZERO = {"min": {"pad": 0.0, "soft": 0.0, "mode": 1}, "max": {"pad": 0.2, "soft": 10.0, "mode": 1}}  # uPlot's range
PICTURE_WIDTH_PX, GAP_PX = 360, 12
FIGURES = "font-variant-numeric:tabular-nums"


@dataclass(frozen=True, slots=True)
class Line:
    """What the panel says of one stream."""

    name: str
    colour: tuple[int, int, int]
    text: str  # its state
    good: bool
    note: str = ""  # what is wrong with it; empty: nothing
    rows: Sequence[Row] = ()


class Plot:
    """A quantity of each stream over the last PLOTTED_S."""

    def __init__(self, server: "ViserServer", title: str, names: Sequence[str], colours: Sequence[tuple]) -> None:
        series = [{}, *({"label": n, "stroke": _css(c), "width": 2} for n, c in zip(names, colours, strict=True))]
        self._points: deque[tuple[float, ...]] = deque()
        self._handle = server.gui.add_uplot(
            (np.zeros(0), *(np.zeros(0) for _ in names)),
            tuple(series),  # type: ignore[arg-type]
            title=title,
            scales={"x": {"time": False, "range": (-PLOTTED_S, 0.0)}, "y": {"range": FROM_ZERO}},
            legend={"show": False},
            cursor={"show": False},
            height=PLOT_PX,
            padding=(12, 24, 0, 0),
        )

    def add(self, now_s: float, values: Sequence[float]) -> None:
        """A value of each stream; NaN where there is none, which uPlot cannot draw."""
        if np.isfinite(values).any():
            self._points.append((now_s, *np.nan_to_num(values)))
        while self._points and now_s - self._points[0][0] > PLOTTED_S:
            self._points.popleft()
        columns = np.array(self._points).reshape(-1, 1 + len(values)).T
        self._handle.data = (columns[0] - now_s, *columns[1:])


class Panel:
    """Everything that is not in the scene. Buttons only note what is wanted; the viewer's own thread does it."""

    def __init__(self, server: "ViserServer", names: Sequence[str], colours: Sequence[tuple[int, int, int]]) -> None:
        self._server, self._written = server, dict[str, str]()
        gui, several = server.gui, len(names) > 1
        self._status = gui.add_html("")
        self.stream = gui.add_dropdown("Stream", (EVERYTHING, *names), visible=several)
        self._people = gui.add_html("")
        self.record = gui.add_button("Record", hint="Writes every message to a motion.npz")
        self._recorded = gui.add_html("", visible=False)
        self.look = gui.add_button("Look at the people")
        with gui.add_folder("Show", expand_by_default=False):
            self.trails = gui.add_checkbox("Trails", True)
            self.cameras = gui.add_checkbox("Cameras", True)
            self.beside = gui.add_checkbox("Streams side by side", several, visible=several)
        plots = gui.add_panel()  # on a phone, a section that is closed at first
        with plots.add_tab("Age and frame rate"):
            self.ages = Plot(server, "age, ms", names, colours)
            self.rates = Plot(server, "frames per second", names, colours)
        plots.dock_below(gui.main_panel)
        self._panel: PanelHandle | None = None
        self.picture: GuiImageHandle | None = None

    @property
    def chosen(self) -> str:
        """Name of the stream to show, or EVERYTHING."""
        return self.stream.value

    def write(self, lines: Sequence[Line]) -> None:
        """Shows the state of each stream, and the people of the chosen ones."""
        several = len(lines) > 1
        self._set("status", self._status, "".join(_status(line, several) for line in lines))
        chosen = [line for line in lines if self.chosen in (EVERYTHING, line.name)]
        self._set("people", self._people, _table(chosen, several))

    def write_recording(self, running: bool, text: str) -> None:
        """Shows whether a recording goes on, and what became of it."""
        label = "Stop and save" if running else "Record"
        if self.record.label != label:
            self.record.label, self.record.color = label, "red" if running else None
        self._set("recorded", self._recorded, f'<div style="{SMALL}">{html.escape(text)}</div>')
        self._recorded.visible = bool(text)

    def show_picture(self, picture: np.ndarray) -> None:
        """Shows a picture (height, width, 3) uint8 RGB in a window of its own."""
        if self.picture is None:
            self._panel = self._server.gui.add_panel()
            with self._panel.add_tab("Picture"):
                self.picture = self._server.gui.add_image(picture, format="jpeg", jpeg_quality=80)
            self._panel.float(x=GAP_PX, y=-GAP_PX, width=PICTURE_WIDTH_PX)  # at the lower left
        else:
            self.picture.image = picture
        if self._panel is not None and not self.shows_picture:
            self._panel.visible = True

    @property
    def shows_picture(self) -> bool:
        """Whether the window of the picture is open."""
        return self._panel is not None and self._panel.visible

    def hide_picture(self) -> None:
        """No picture comes any more."""
        if self._panel is not None and self.shows_picture:
            self._panel.visible = False

    def _set(self, key: str, handle: "GuiHtmlHandle", content: str) -> None:
        """Sends a text only if it has changed."""
        if self._written.get(key) != content:
            self._written[key] = handle.content = content


ROW = "display:flex;align-items:center;gap:0.5em;padding:0.15em 0"
SMALL = "font-size:0.8em;opacity:0.75;overflow-wrap:anywhere;padding:0 1em 0.4em"
BOX = "font-size:0.85em;padding:0.2em 1em 0.4em"


def _status(line: Line, several: bool) -> str:
    dot = "#2f9e44" if line.good else "#e67700"
    name = f'<b style="color:{_css(line.colour)}">{html.escape(line.name)}</b>' if several else ""
    note = f'<div style="opacity:0.75">{html.escape(line.note)}</div>' if line.note else ""
    return (
        f'<div style="{BOX}"><div style="{ROW}"><span style="color:{dot}">&#9679;</span>{name}'
        f'<span style="{FIGURES}">{html.escape(line.text)}</span></div>{note}</div>'
    )


def _table(lines: Sequence[Line], several: bool) -> str:
    rows = [(line.name, row) for line in lines for row in line.rows]
    if not rows:
        return f'<div style="{BOX};opacity:0.75">nobody</div>'
    cells = []
    for name, row in rows:
        swatch = f"background:{_css(colour_of(row.person))};width:0.9em;height:0.9em;border-radius:0.25em;display:block"
        share = f"{100 * min(max(row.confidence, 0), 1):.0f}"
        bar = f"width:{share}%;height:100%;background:{_css(colour_of(row.person))};border-radius:0.25em"
        height = "" if row.height_m is None or not math.isfinite(row.height_m) else f"{row.height_m:.2f} m"
        label = f"{html.escape(name)} {row.person}" if several else f"{row.person}"
        cells.append(
            f'<tr><td><span style="{swatch}"></span></td><td>{label}</td>'
            '<td style="width:45%"><div style="height:0.5em;background:rgba(128,128,128,0.2);border-radius:0.25em">'
            f'<div style="{bar}"></div></div></td><td style="text-align:right">{row.confidence:.2f}</td>'
            f'<td style="text-align:right">{height}</td></tr>'
        )
    head = '<tr style="opacity:0.6"><td></td><td>id</td><td colspan="2">confidence</td>'
    head += '<td style="text-align:right">height</td></tr>'
    table = f'style="width:100%;border-spacing:0.4em 0.1em;border-collapse:separate;{FIGURES}"'
    return f'<div style="{BOX}"><table {table}>{head}{"".join(cells)}</table></div>'


def _css(colour: Sequence[int] | np.ndarray) -> str:
    return "rgb({},{},{})".format(*(int(part) for part in colour))
