"""Calibration files: which format a path is in, and reading and writing any of them."""

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Literal

import cv2

from refit_rt.cameras import anipose, caliscope, colmap, easymocap, opencv, own, pose2sim, qualisys
from refit_rt.cameras.entries import CURE, Content, camera_from_world, check_rig, checked, named
from refit_rt.cameras.rig import Camera, Rig
from refit_rt.errors import UserError

Format = Literal["refit-rt", "easymocap", "anipose", "caliscope", "pose2sim", "opencv", "colmap", "qualisys"]
FORMATS: dict[Format, tuple[ModuleType, str]] = {  # format → module, what a path of it is
    "refit-rt": (own, "a json file"),
    "easymocap": (easymocap, "a folder for intri.yml and extri.yml"),
    "anipose": (anipose, "a toml file"),
    "caliscope": (caliscope, "a toml file"),
    "pose2sim": (pose2sim, "a toml file"),
    "opencv": (opencv, "a yml file, or a folder for one per camera"),
    "colmap": (colmap, "a folder for cameras.txt and images.txt"),
    "qualisys": (qualisys, "a .qca.txt file"),
}
SUFFIXES: dict[Format, tuple[str, ...]] = {
    "refit-rt": (".json",),
    "anipose": (".toml",),
    "caliscope": (".toml",),
    "pose2sim": (".toml",),
    "opencv": (".yml", ".yaml", ""),
}
NAMED: dict[str, Format] = {
    ".json": "refit-rt", ".yml": "opencv", ".yaml": "opencv", ".xml": "opencv", ".txt": "qualisys",
}  # fmt: skip
KNOWN = "json; toml of anipose, Caliscope, Pose2Sim; yml of EasyMocap, OpenCV; COLMAP's text; Qualisys's .qca.txt"


def read_camera(path: Path, name: str, size: tuple[int, int] | None = None) -> Camera:
    """One camera of a calibration file (see `read_rig`) for images of `size`; None: as calibrated. Raises UserError."""
    entries = named(path, _content(path).cameras)
    if name not in entries:
        known = ", ".join(entries)
        raise UserError(f"{path}: has no camera '{name}', only {known}. Set capture.name to one of them")
    camera = checked(path, name, entries[name])
    try:
        return camera if size is None else camera.scaled(size)
    except ValueError as error:
        raise UserError(f"{path}: camera '{name}' {error}. {CURE}") from error


def read_floor(path: Path) -> bool:
    """Whether a calibration file says that the world's y = 0 is the floor. Raises UserError."""
    return _content(path).floor


def read_rig(path: Path, size: tuple[int, int] | None = None, unit_m: float = 1.0) -> Rig:
    """A calibration file, or a folder, in any of the FORMATS; docstrings of their modules say what each holds.

    The world is the file's own: only this project's file says whether y = 0 is the floor. A single camera without a
    place stands upright at the origin. size: (width, height) of the images, for files that do not state it. unit_m:
    metres per unit of the file. Raises UserError.
    """
    content = _content(path)
    entries = named(path, content.cameras)
    if size is not None:
        entries = {name: {"size": size} | entry for name, entry in entries.items()}
    cameras = tuple(checked(path, name, entry) for name, entry in entries.items())
    for name, entry in entries.items() if len(cameras) > 1 else ():
        if camera_from_world(entry) is None:
            raise UserError(f"{path}: camera '{name}' has no place (camera_from_world). {CURE}")
        if not {"dist", "distortion"} & entry.keys():
            raise UserError(f"{path}: camera '{name}' has no 'distortion'. {CURE}")
    for camera in cameras:
        camera.world_from_camera[:3, 3] *= unit_m
    check_rig(path, cameras, content.floor)
    return Rig(cameras, content.floor, content.notes, content.figures)


def write_rig(rig: Rig, path: Path, form: Format | None = None) -> tuple[str, ...]:
    """Writes what `read_rig` reads, whole or not at all, and returns what the format could not hold, in sentences.

    form: None: by the path's suffix or name, a .toml being anipose's unless it is called camera_array.toml or Calib….
    Raises UserError for a rig that the format cannot hold, and when it cannot be written.
    """
    form = form or _format_by_name(path)
    if form is None:
        raise UserError(f"{path}: no format is called so. Name the file rig.json, or give the format with --to")
    if form == "qualisys":
        raise UserError(f"{path}: Qualisys's format is read, not written. Write another one")
    if path.suffix not in SUFFIXES.get(form, (path.suffix,)):
        raise UserError(f"{path}: the format {form} is {FORMATS[form][1]}. Give such a path")
    check_rig(path, rig.cameras, rig.floor)
    lost = FORMATS[form][0].write(rig, path)
    if form != "refit-rt":
        words = {
            "that y = 0 is the floor": rig.floor,
            "notes": rig.notes,
            "figures": rig.figures.made,
            "the cameras' delays (set capture.delays_s)": rig.delays_s,
        }
        lost += [f"{form} cannot hold {what}" for what, there in words.items() if there]
    return tuple(lost)


def format_of(path: Path) -> Format | None:
    """The format of a file or folder that is there, by name and content; None: of none. Raises OSError."""
    form = _format_by_name(path)
    if path.is_dir():
        return None if form == "opencv" and not list(path.glob("*.y*ml")) else form
    if path.suffix == ".toml":
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return "caliscope" if "cameras" in tables else "anipose"
    if path.suffix in (".yml", ".yaml", ".xml", ".txt") and form != "colmap":
        start = path.read_text(encoding="utf-8", errors="replace")[:1000]
        form = "qualisys" if "<calibration" in start else form
    return form or "refit-rt"


def _format_by_name(path: Path) -> Format | None:
    """What a path's name says, whether it is there or not."""
    if path.name in (easymocap.INTRI, easymocap.EXTRI) or (path / easymocap.INTRI).is_file():
        return "easymocap"
    if path.name in (colmap.CAMERAS, colmap.IMAGES) or (path / colmap.CAMERAS).is_file():
        return "colmap"
    if path.is_dir():
        return "opencv"
    if path.suffix == ".toml":
        if path.name.startswith("Calib"):
            return "pose2sim"
        return "caliscope" if path.name == "camera_array.toml" else "anipose"
    return NAMED.get(path.suffix)


def _content(path: Path) -> Content:
    """A file as its own module reads it. Raises UserError."""
    try:
        form = format_of(path)
        if form is None:
            raise UserError(f"{path}: this folder holds no calibration ({KNOWN}). {CURE}")
        content = FORMATS[form][0].read(path)
        return replace(content, cameras=[dict(entry) for entry in content.cameras])
    except OSError as error:
        where = Path(error.filename) if error.filename else path
        raise UserError(f"{where}: cannot be read ({error.strerror}). {CURE}") from error
    except KeyError as error:
        raise UserError(f"{path}: is no calibration file, it lacks {error}. {CURE}") from error
    except (json.JSONDecodeError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is no calibration file ({KNOWN}). {CURE}") from error
    except (ValueError, TypeError, AttributeError, cv2.error) as error:
        raise UserError(f"{path}: is no calibration file ({error}). {CURE}") from error
