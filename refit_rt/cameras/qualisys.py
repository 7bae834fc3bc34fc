"""Qualisys's .qca.txt, which is xml: read only.

Per camera: `serial`, the name; `transform`, its position in millimetres, and the rows r11 r12 r13, … that take the
world to a camera whose y is up and whose z points backwards; `intrinsic`, focal length and centre in 1/64 of a pixel,
and OpenCV's distortion, which has no unit; `fov_video`, the part of the sensor that is in the video, both ends
included. The sensor reaches from 0 to 64 times the last pixel's number, so the centre of the first pixel is (0, 0). The
world is the user's own, by default with z up and z = 0 on the floor, and it stays as it is.
"""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from refit_rt.cameras.entries import Content

PER_PIXEL = 64.0
PER_METRE = 1000.0
OURS_FROM_THEIRS = np.diag([1.0, -1.0, -1.0])  # y up and z backwards → y down and z forward
RADIAL, TANGENTIAL = "radialDistortion", "tangentalDistortion"  # spelt so in the files; some have tangential


def read(path: Path) -> Content:
    """The cameras that are switched on. Raises KeyError and ValueError."""
    try:
        root = ElementTree.fromstring(path.read_text(encoding="utf-8", errors="replace").lstrip("\ufeff"))
    except ElementTree.ParseError as error:
        raise ValueError("no xml") from error
    cameras = [camera for camera in root.iter("camera") if camera.get("active", "1") != "0"]
    return Content([_entry(camera) for camera in cameras])


def _entry(camera: ElementTree.Element) -> dict[str, Any]:
    lens, place, part = (_below(camera, name) for name in ("intrinsic", "transform", "fov_video"))
    left, right, top, bottom = (round(_number(part, side)) for side in ("left", "right", "top", "bottom"))
    x, y = _number(lens, "focalLengthU") / PER_PIXEL, _number(lens, "focalLengthV") / PER_PIXEL
    centre_x = _number(lens, "centerPointU") / PER_PIXEL - left
    centre_y = _number(lens, "centerPointV") / PER_PIXEL - top
    skew = float(lens.get("skew", 0.0)) / PER_PIXEL
    tangential = TANGENTIAL if f"{TANGENTIAL}1" in lens.keys() else "tangentialDistortion"  # noqa: SIM118
    k1, k2, k3 = (_number(lens, f"{RADIAL}{number}") for number in (1, 2, 3))
    p1, p2 = (_number(lens, f"{tangential}{number}") for number in (1, 2))
    turn = np.array([[_number(place, f"r{row}{column}") for column in (1, 2, 3)] for row in (1, 2, 3)])
    position = np.array([_number(place, axis) for axis in "xyz"]) / PER_METRE
    rotation = OURS_FROM_THEIRS @ turn
    return {
        "name": _given(camera, "serial"),
        "size": (right - left + 1, bottom - top + 1),
        "matrix": [[x, skew, centre_x], [0.0, y, centre_y], [0.0, 0.0, 1.0]],
        "distortion": [k1, k2, p1, p2, k3],
        "rotation": rotation,
        "translation": -rotation @ position,
    }


def _below(camera: ElementTree.Element, name: str) -> ElementTree.Element:
    found = camera.find(name)
    if found is None:
        raise KeyError(name)
    return found


def _given(element: ElementTree.Element, name: str) -> str:
    value = element.get(name)
    if value is None:
        raise KeyError(name)
    return value


def _number(element: ElementTree.Element, name: str) -> float:
    return float(_given(element, name))
