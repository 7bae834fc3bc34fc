"""The sub-verb `calibrate convert`: a calibration of another program → this one's, or the other way round."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import numpy as np
from tyro.conf import Positional, arg

from refit_rt.commands.shared import say
from refit_rt.errors import UserError

if TYPE_CHECKING:
    from refit_rt.cameras import Rig

Form = Literal[
    "by-name", "refit-rt", "easymocap", "anipose", "caliscope", "pose2sim", "opencv", "colmap"
]  # fmt: skip
Up = Literal["y", "z", "-y"]
Given = Positional[Annotated[str, arg(metavar="IN")]]
Out = Positional[Annotated[str, arg(metavar="OUT")]]
METRES = {"m": 1.0, "cm": 0.01, "mm": 0.001}
Y_UP: dict[Up, np.ndarray] = {  # which axis points up → the rotation that makes it y
    "y": np.eye(3),
    "z": np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]),
    "-y": np.diag([1.0, -1.0, -1.0]),
}
USUALLY_Z = ("easymocap", "pose2sim", "qualisys")  # programs whose worlds have z up


def convert(
    source: Given,
    out: Out,
    /,
    *,
    to: Form = "by-name",
    size: tuple[int, int] = (0, 0),
    unit: Literal["m", "cm", "mm"] = "m",
    up: Up = "y",
    up_out: Up = "y",
) -> int:
    """Convert a calibration file to another program's format.

    IN is read whatever its format: this program's rig.json, EasyMocap's folder, toml of anipose, Caliscope or Pose2Sim,
    OpenCV's yml, COLMAP's text folder, Qualisys's .qca.txt.

    Args:
        source: The calibration to read, a file or a folder.
        out: The file or folder to write.
        to: The format to write. by-name goes by OUT's name: .json is refit-rt, .yml opencv, .toml anipose.
        size: Width and height of the images, if IN does not state them (EasyMocap often does not).
        unit: The unit of IN's places, if it is not the metre (anipose does not state it).
        up: The axis of IN's world that points up. EasyMocap, Pose2Sim and Qualisys usually have z.
        up_out: The axis that is to point up in OUT.
    """
    from refit_rt.cameras import format_of, read_rig, write_rig

    given, made = Path(source).expanduser(), Path(out).expanduser()
    if min(size) < 0 or (min(size) == 0 and max(size) > 0):
        raise UserError(f"--size {size[0]} {size[1]}: both must be above zero")
    rig = read_rig(given, size if min(size) else None, METRES[unit])
    form = None if to == "by-name" else to
    if up_out != "y" and (form == "refit-rt" or (form is None and made.suffix == ".json")):
        raise UserError(f"--up-out {up_out}: a rig file of refit-rt has y up. Leave --up-out out")
    lost = write_rig(turned(rig, up, up_out), made, form)
    say(f"{made}: {len(rig)} cameras, {', '.join(rig.names)}")
    for sentence in lost:
        say(f"  {sentence}")
    program = format_of(given)
    if up == "y" and program in USUALLY_Z:
        say(f"  The world is as in {given}. Where z is up there, as {program} usually has it, add --up z")
    return 0


def turned(rig: "Rig", up: Up, up_out: Up) -> "Rig":
    """The rig in a world with another axis up. The floor stays known where nothing is turned."""
    if up == up_out:
        return rig
    turn = np.eye(4)
    turn[:3, :3] = Y_UP[up_out].T @ Y_UP[up]
    return rig.moved(turn)
