"""The sub-verb `calibrate report`: a calibration → one page of HTML, which needs nothing beside it."""

import html
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from tyro.conf import Positional, arg

from refit_rt.commands.shared import say
from refit_rt.errors import UserError

if TYPE_CHECKING:
    from calib.quality import Quality
    from refit_rt.cameras import Rig

STYLE = """
:root { color-scheme: light; } body { font: 15px/1.45 system-ui, sans-serif; color: #111827; background: #fff;
  max-width: 1020px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; } h2 { font-size: 1.15rem; margin: 2rem 0 0.5rem; }
p.about, figcaption, td.cure { color: #4b5563; } table { border-collapse: collapse; }
th, td { text-align: left; padding: 0.25rem 0.7rem; border-bottom: 1px solid #e5e7eb; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; } td.weak { outline: 2px solid #d97706; }
.grave td:first-child { border-left: 4px solid #b91c1c; } .light td:first-child { border-left: 4px solid #d97706; }
.cameras { display: grid; grid-template-columns: repeat(auto-fill, minmax(310px, 1fr)); gap: 1.2rem; }
figure { margin: 0; } svg .frame { fill: #f9fafb; stroke: #9ca3af; vector-effect: non-scaling-stroke; }
svg .field { stroke: #e5e7eb; vector-effect: non-scaling-stroke; } svg .axis { stroke: #9ca3af; }
svg text { font: 11px system-ui, sans-serif; fill: #111827; } canvas { border: 1px solid #e5e7eb; max-width: 100%;
  touch-action: none; cursor: grab; } .good { color: #15803d; } .usable { color: #b45309; } .poor { color: #b91c1c; }
@media print { .cameras { break-inside: avoid; } }
"""


def page(rig: "Rig", quality: "Quality", title: str) -> str:
    """The whole page. The rig and the record are of the same cameras."""
    from calib import drawings
    from calib.weaknesses import GOOD_PX, USABLE_PX, verdict, weaknesses

    word = verdict(quality)
    held_out = f", {quality.held_out_px:.2f} px on boards that it did not see" if _known(quality.held_out_px) else ""
    facts = [
        f'<b class="{word}">{word.capitalize()}</b>: {quality.rms_px:.2f} px between corners found and projected'
        f"{held_out}. Up to {GOOD_PX} px is good, up to {USABLE_PX} px usable.",
        " · ".join(html.escape(text) for text in (quality.board, quality.made, rig.notes) if text),
    ]
    coverage = "".join(_figure(drawings.coverage_map(one), one.name, _frames(one.frame)) for one in quality.cameras)
    residuals = "".join(
        _figure(drawings.residual_map(one), one.name, f"{one.rms_px:.2f} px") for one in quality.cameras
    )
    error = np.concatenate([np.linalg.norm(one.residual_px, axis=-1) for one in quality.cameras])
    parts = {
        "What is weak, and what cures it": _weak(weaknesses(rig, quality)),
        "Cameras": _table(rig, quality),
        "Where the board was seen": f'<p class="about">Each dot is a corner; empty fields are where the lens is not '
        f'known.</p><div class="cameras">{coverage}</div>',
        "What is left over": f'<p class="about">Each line leads from where the rig projects a corner to where it was '
        f'found, {drawings.ARROW_PX} times enlarged: <b style="color: {drawings.USED}">used</b>, '
        f'<b style="color: {drawings.HELD}">held out</b>, <b style="color: {drawings.TRIMMED}">left out as wrong</b>. '
        "Lines that point the same way in one region show a lens that is not known there; lines that point the same "
        f'way in all of a picture, a camera that moved.</p><div class="cameras">{residuals}</div>'
        f"<p>Distances of all corners:</p>{drawings.histogram(error, 'px', {'rms': quality.rms_px})}",
        "Frames that two cameras share": f'<p class="about">Outlined: too few.</p>{drawings.pair_table(quality)}',
        "The cameras in space": '<p class="about">Drag to turn, scroll to zoom. Squares are one metre; the thick side '
        f"of a camera is its upper one. {_ground(rig)}</p>{drawings.scene(rig, quality)}",
        "Lengths": _lengths(quality),
    }
    body = "".join(f"<h2>{heading}</h2>{text}" for heading, text in parts.items())
    about = "".join(f'<p class="about">{fact}</p>' for fact in facts if fact)
    return (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{STYLE}</style>'
        f"<h1>Calibration of {html.escape(title)}</h1>{about}{body}</html>\n"
    )


def _known(value: float | None) -> bool:
    return value is not None and bool(np.isfinite(value))


def _number(value: float | None, form: str = ".2f") -> str:
    return f"{value:{form}}" if value is not None and np.isfinite(value) else "-"


def _frames(frame: np.ndarray) -> str:
    return f"{len(frame)} corners in {len(np.unique(frame))} frames"


def _figure(drawing: str, name: str, text: str) -> str:
    return f"<figure>{drawing}<figcaption><b>{html.escape(name)}</b> {html.escape(text)}</figcaption></figure>"


def _weak(found: list) -> str:
    if not found:
        return "<p>Nothing.</p>"
    rows = "".join(
        f'<tr class="{"grave" if one.grave else "light"}"><td>{html.escape(one.reason)}</td>'
        f'<td class="cure">{html.escape(one.cure)}</td></tr>'
        for one in found
    )
    return f"<table>{rows}</table>"


def _table(rig: "Rig", quality: "Quality") -> str:
    from calib.weaknesses import share_covered

    heads = ("camera", "image", "focal length px", "rms px", "held out px", "lens alone px", "covered", "distance m")
    rows = []
    for camera, one in zip(rig, quality.cameras, strict=True):
        deviation = one.deviation.get("focal_px")
        near = f"{one.distance_m.min():.1f} to {one.distance_m.max():.1f}" if len(one.distance_m) else "-"
        cells = [
            f"{camera.size[0]} x {camera.size[1]}",
            f"{camera.focal_px:.1f}" + (f" ± {deviation:.1f}" if _known(deviation) else ""),
            _number(one.rms_px),
            _number(one.held_out_px),
            _number(one.lens_rms_px),
            f"{share_covered(one)[0]:.0%}",
            near,
        ]
        numbers = "".join(f'<td class="number">{cell}</td>' for cell in cells)
        rows.append(f"<tr><th>{html.escape(camera.name)}</th>{numbers}</tr>")
    head = "".join(f"<th{' class=number' if number else ''}>{name}</th>" for number, name in enumerate(heads))
    return f"<table><tr>{head}</tr>{''.join(rows)}</table>"


def _ground(rig: "Rig") -> str:
    if rig.floor:
        return "The grid is the floor."
    return "Where the floor is, is unknown; the grid is level with the lowest camera or corner."


def _lengths(quality: "Quality") -> str:
    from calib.drawings import histogram

    text = ""
    sides = 1000 * quality.squares_m[np.isfinite(quality.squares_m)]
    if len(sides):
        entered = 1000 * quality.square_m
        off = float(np.sqrt(np.mean((sides - entered) ** 2)))
        text += (
            f"<p>The board's squares, measured between corners that two cameras or more see: {np.median(sides):.2f} mm "
            f"({np.median(sides) / entered - 1:+.2%} of {entered:.2f} mm), {off:.2f} mm rms off.</p>"
            + histogram(sides, "mm", {"entered": entered, "median": float(np.median(sides))})
        )
    rows = "".join(
        f'<tr><th>{html.escape(what)}</th><td class="number">{measured:.3f} m</td><td class="number">{found:.3f} m</td>'
        f'<td class="number">{1000 * (found - measured):+.1f} mm</td></tr>'
        for what, measured, found in quality.lengths
    )
    heads = (
        "<tr><th></th>" + "".join(f"<th class=number>{one}</th>" for one in ("measured", "in the rig", "off")) + "</tr>"
    )
    return text + (f"<table>{heads}{rows}</table>" if rows else "") or "<p>None was checked.</p>"


def report(
    source: Positional[Annotated[str, arg(metavar="RIG")]],
    /,
    *,
    out: Annotated[str, arg(metavar="FILE")] = "",
    quality: Annotated[str, arg(metavar="FILE")] = "",
) -> int:
    """Show how good a calibration is, what is weak and what cures it, in one page of HTML.

    Args:
        source: The rig file that calibrate solve wrote.
        out: The page to write (.html). Otherwise it lies beside the rig.
        quality: The record of the calibration. Otherwise the one beside the rig is read.
    """
    from calib.quality import beside, read_quality
    from calib.weaknesses import verdict, weaknesses
    from refit_rt.cameras import read_rig

    path = Path(source).expanduser()
    rig = read_rig(path)
    record = Path(quality).expanduser() if quality else beside(path)
    known = read_quality(record)
    names = tuple(one.name for one in known.cameras)
    if names != rig.names:
        raise UserError(
            f"{record}: is of the cameras {', '.join(names)}, but {path} has {', '.join(rig.names)}. "
            "Give the record that was written with this rig"
        )
    made = write_report(rig, known, Path(out).expanduser() if out else path.with_suffix(".html"), path.stem)
    grave = sum(one.grave for one in weaknesses(rig, known))
    say(f"{made}: {verdict(known)}, {known.rms_px:.2f} px{f', {grave} grave weaknesses' if grave else ''}")
    return 0


def write_report(rig: "Rig", quality: "Quality", path: Path, title: str) -> Path:
    """Writes the page of a rig and its record, and returns its path. Raises UserError when it cannot be written."""
    from refit_rt.files import write_whole

    with write_whole(path) as part:
        part.write_text(page(rig, quality, title), encoding="utf-8")
    return path
