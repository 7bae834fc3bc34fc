"""Drawings of a report, as SVG in a page: what a camera saw, its residuals, pairs of cameras, and the rig."""

import html
import json

import numpy as np

from calib.quality import CameraQuality, Quality
from calib.weaknesses import FEW_SHARED, GRID, coverage
from refit_rt.cameras.rig import Camera, Rig

WIDE = 300  # pixels on the page
MOST_DOTS = 1500
ARROW_PX = 40  # pixels of the picture that a residual of one pixel is drawn as
BAR = 88  # height of a histogram's highest bar; marks are named above it
REACH_M = 0.35  # depth of a camera's drawn pyramid
USED, HELD, TRIMMED = "#2563eb", "#d97706", "#b91c1c"


def some(count: int) -> np.ndarray:
    """Numbers of at most MOST_DOTS of `count` rows, the same ones every time."""
    return np.arange(count) if count <= MOST_DOTS else np.random.default_rng(0).choice(count, MOST_DOTS, replace=False)


def picture(camera: CameraQuality, inside: str, label: str) -> str:
    """A drawing in a camera's pixels."""
    width, height = camera.size
    tall = round(WIDE * height / width)
    return (
        f'<svg role="img" aria-label="{html.escape(label)}" width="{WIDE}" height="{tall}" '
        f'viewBox="-0.5 -0.5 {width} {height}"><rect x="-0.5" y="-0.5" width="{width}" height="{height}" '
        f'class="frame"/>{inside}</svg>'
    )


def coverage_map(camera: CameraQuality) -> str:
    """Corners that were found, over fields that are the darker the more there are."""
    width, height = camera.size
    counts = coverage(camera)
    wide, tall = width / GRID, height / GRID
    fields = "".join(
        f'<rect x="{column * wide - 0.5:.1f}" y="{row * tall - 0.5:.1f}" width="{wide:.1f}" height="{tall:.1f}" '
        f'fill="{USED}" fill-opacity="{min(count / max(counts.max(), 1), 1) * 0.35:.2f}" class="field"/>'
        for (row, column), count in np.ndenumerate(counts)
    )
    radius = width / 320
    dots = "".join(f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius:.1f}"/>' for x, y in camera.px[some(len(camera.px))])
    return picture(camera, f'{fields}<g fill="#111827" fill-opacity="0.55">{dots}</g>', f"coverage of {camera.name}")


def residual_map(camera: CameraQuality) -> str:
    """An arrow per corner, from where the rig projects it towards where it was found, ARROW_PX times as long."""
    scale = ARROW_PX * camera.size[0] / 1280
    lines = []
    for number in some(len(camera.px)):
        residual = camera.residual_px[number]
        if not np.isfinite(residual).all():
            continue
        colour = USED if camera.used[number] else HELD if camera.held_out[number] else TRIMMED
        (x, y), (dx, dy) = camera.px[number], np.clip(scale * residual, -3 * scale, 3 * scale)
        lines.append(f'<line x1="{x:.0f}" y1="{y:.0f}" x2="{x + dx:.0f}" y2="{y + dy:.0f}" stroke="{colour}"/>')
    thick = camera.size[0] / 500
    inside = f'<g stroke-width="{thick:.1f}" stroke-opacity="0.7">{"".join(lines)}</g>'
    return picture(camera, inside, f"residuals of {camera.name}")


def histogram(values: np.ndarray, unit: str, marks: dict[str, float], bins: int = 40) -> str:
    """Bars of (n,) values, with vertical lines at some of them."""
    values = values[np.isfinite(values)]
    if not len(values):
        return "<p>There are no values.</p>"
    low, high = np.percentile(values, [0.5, 99.5])
    known = [value for value in marks.values() if np.isfinite(value)]
    low, high = min([low, *known]), max([high, *known])
    margin = 0.05 * (high - low) + 1e-9
    low, high = max(low - margin, 0.0 if low >= 0 else -np.inf), high + margin
    counts, _ = np.histogram(values, bins=bins, range=(low, high))
    wide, tall = 420, 120
    bars = "".join(
        f'<rect x="{i * wide / bins:.1f}" y="{tall - count / max(counts.max(), 1) * BAR:.1f}" '
        f'width="{wide / bins - 1:.1f}" height="{count / max(counts.max(), 1) * BAR:.1f}" fill="{USED}"/>'
        for i, count in enumerate(counts)
    )
    places = {name: (value - low) / (high - low) * wide for name, value in marks.items() if np.isfinite(value)}
    lines = "".join(
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{12 * row + 12}" y2="{tall}" stroke="{HELD}" stroke-width="1.5"/>'
        f'<text x="{x + (4 if x < wide * 0.6 else -4):.1f}" y="{12 * row + 18}" '
        f'text-anchor="{"start" if x < wide * 0.6 else "end"}">{html.escape(name)}</text>'
        for row, (name, x) in enumerate(places.items())
    )
    axis = (
        f'<line x1="0" x2="{wide}" y1="{tall}" y2="{tall}" class="axis"/><text x="0" y="{tall + 14}">{low:.4g}</text>'
        f'<text x="{wide}" y="{tall + 14}" text-anchor="end">{high:.4g} {unit}</text>'
    )
    return f'<svg width="{wide}" height="{tall + 20}" viewBox="0 0 {wide} {tall + 20}">{bars}{lines}{axis}</svg>'


def pair_table(quality: Quality) -> str:
    """Frames in which two cameras saw the board, as a table."""
    names = [html.escape(one.name) for one in quality.cameras]
    most = max(int(quality.pairs.max()), 1)
    rows = []
    for name, row in zip(names, quality.pairs, strict=True):
        cells = []
        for other, count in zip(names, row.tolist(), strict=True):
            weak = " weak" if count < FEW_SHARED and other != name else ""
            shade = f"background: rgb(37 99 235 / {0.45 * count / most:.2f})"
            cells.append(f'<td class="number{weak}" style="{shade}">{count}</td>')
        rows.append(f"<tr><th>{name}</th>{''.join(cells)}</tr>")
    heads = "".join(f"<th>{name}</th>" for name in names)
    return f"<table><tr><th></th>{heads}</tr>{''.join(rows)}</table>"


def pyramid(camera: Camera) -> list[list[float]]:
    """The centre and the four corners of a camera's view, in the world."""
    width, height = camera.size
    corners = np.array([[0, 0], [width - 1, 0], [width - 1, height - 1], [0, height - 1]], float)
    rays = np.concatenate([(corners - camera.centre_px) / camera.focal_px, np.ones((4, 1))], -1) * REACH_M
    return np.round([camera.position, *camera.world(rays)], 4).tolist()


def scene(rig: Rig, quality: Quality) -> str:
    """The rig in space, turned with the mouse, and its plan from above."""
    dots = quality.corners_m[some(len(quality.corners_m))]
    facts = {
        "cameras": [{"name": camera.name, "points": pyramid(camera)} for camera in rig],
        "dots": np.round(dots, 3).tolist(),
        "floor": rig.floor,
    }
    words = json.dumps(facts).replace("<", "\\u003c")
    return (
        '<canvas id="scene" width="760" height="460" tabindex="0" aria-label="the cameras in space"></canvas>'
        f"<script>const facts = {words};\n{TURN}</script>"
    )


TURN = """
const canvas = document.getElementById("scene"), pen = canvas.getContext("2d");
const all = facts.cameras.map(c => c.points[0]).concat(facts.dots);
const mid = [0, 1, 2].map(i => (Math.min(...all.map(p => p[i])) + Math.max(...all.map(p => p[i]))) / 2);
const span = Math.max(0.5, ...all.map(p => Math.hypot(...p.map((v, i) => v - mid[i]))));
const low = facts.floor ? 0 : Math.min(...all.map(p => p[1]));
let azimuth = 0.6, height = 0.45, zoom = 1;
function at(p) {
  const [x, y, z] = p.map((v, i) => v - mid[i]), ca = Math.cos(azimuth), sa = Math.sin(azimuth);
  const side = ca * x - sa * z, deep = sa * x + ca * z, ch = Math.cos(height), sh = Math.sin(height);
  const scale = zoom * 250 / span / (1 - 0.25 * (ch * deep + sh * y) / span);
  return [canvas.width / 2 + side * scale, canvas.height / 2 - (ch * y - sh * deep) * scale];
}
function line(points, colour, width = 1) {
  pen.beginPath(); points.forEach((p, i) => pen[i ? "lineTo" : "moveTo"](...at(p)));
  pen.strokeStyle = colour; pen.lineWidth = width; pen.stroke();
}
function draw() {
  pen.clearRect(0, 0, canvas.width, canvas.height);
  const reach = Math.ceil(span), cx = Math.round(mid[0]), cz = Math.round(mid[2]);
  for (let i = -reach; i <= reach; i++) {
    line([[cx + i, low, cz - reach], [cx + i, low, cz + reach]], "#e5e7eb");
    line([[cx - reach, low, cz + i], [cx + reach, low, cz + i]], "#e5e7eb");
  }
  pen.fillStyle = "rgb(17 24 39 / 0.35)";
  for (const p of facts.dots) { const [x, y] = at(p); pen.fillRect(x - 1, y - 1, 2, 2); }
  [["x", "#b91c1c", [0.5, 0, 0]], ["y", "#15803d", [0, 0.5, 0]], ["z", "#1d4ed8", [0, 0, 0.5]]].forEach(([n, c, e]) => {
    line([[0, 0, 0], e], c, 2); pen.fillStyle = c; pen.fillText(n, ...at(e)); });
  pen.font = "13px sans-serif";
  for (const { name, points: [o, a, b, c, d] } of facts.cameras) {
    line([[o[0], low, o[2]], o], "#cbd5e1"); line([a, b, c, d, a], "#2563eb", 1.5); line([a, b], "#1e3a8a", 3);
    for (const p of [a, b, c, d]) line([o, p], "#2563eb");
    const [x, y] = at(o); pen.fillStyle = "#111827"; pen.fillText(name, x + 6, y - 6);
  }
}
canvas.onpointermove = e => { if (e.buttons) { azimuth -= e.movementX / 150; turn(e.movementY / 150); } };
function turn(by) { height = Math.max(-0.2, Math.min(1.57, height + by)); draw(); }
canvas.onwheel = e => { e.preventDefault(); zoom *= Math.exp(-e.deltaY / 800); draw(); };
canvas.onkeydown = e => { azimuth += { ArrowLeft: 0.1, ArrowRight: -0.1 }[e.key] || 0;
  turn({ ArrowUp: 0.1, ArrowDown: -0.1 }[e.key] || 0); };
draw();
"""
