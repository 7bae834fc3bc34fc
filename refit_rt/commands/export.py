"""The verb `export`: a recording → a file that other programs read."""

from pathlib import Path
from typing import Annotated, Literal, get_args

from tyro.conf import Positional, arg

from refit_rt.commands.shared import File, say
from refit_rt.config import AxesName
from refit_rt.errors import UserError

Target = Literal["amass", "bvh", "glb", "usd", "csv", "npz"]
SUFFIXES = {
    "amass": (".npz",),
    "bvh": (".bvh",),
    "glb": (".glb",),
    "usd": (".usdc", ".usda"),
    "csv": (".csv",),
    "npz": (".npz",),
}
ONE_EACH = ("amass", "bvh")  # these formats hold one person, so that each person gets a file


def export(
    recording: Positional[Annotated[str, arg(metavar="RECORDING")]],
    /,
    *,
    to: Target,
    out: File = "",
    person: int | None = None,
    fps: float = 0.0,
    names: str = "smpl",
    frame: AxesName = "gltf",
    body: File = "",
) -> int:
    """Turn a recording into AMASS, BVH, glTF, USD or CSV.

    Args:
        recording: A motion.npz of refit-rt run --out, or the motion.unfinished of a run that was killed.
        to: The format. amass and bvh hold one person, and write one file each; glb, usd and csv hold everybody. npz is
            a motion.npz again: of a motion.unfinished, or of one person.
        out: The file to write; beside the recording if it is not given. Several files have the person's number added.
        person: The number of the one person to export; everybody if it is not given.
        fps: Frames per second of the result; 0 keeps the recording's. csv and npz have the recording's own frames.
        names: What joints are called in bvh, glb and usd: smpl, mixamo, vrm, unreal, or a .json file {joint: name}.
        frame: Axes and unit of csv: gltf, opencv, unity, unreal (cm) or blender. The other formats have their own.
        body: The body file of the recording, if it is not the free body.
    """
    from refit_rt.axes import AXES
    from refit_rt.body.bone_names import bone_names
    from refit_rt.body.smpl import load_body
    from refit_rt.motion.npz import read_motion
    from refit_rt.motion.performance import performances

    path = Path(recording).expanduser()
    target = _target(path, to, out)
    called = bone_names(names)
    motion = read_motion(path)
    if to in ("csv", "npz"):
        from refit_rt.motion.csv import write_csv
        from refit_rt.motion.npz import write_motion

        if person is not None and person not in motion.person:
            raise UserError(f"{path}: the recording has no person {person}")
        if to == "csv":
            write_csv(target, motion, AXES[frame], person)
        else:
            write_motion(target, motion, person)
        say(f"{target}: {len(motion.frame) if person is None else int((motion.person == person).sum())} rows")
        return 0
    used = load_body(Path(body).expanduser() if body else None)
    try:
        people = performances(motion, used, person, fps)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    if used.pose_dirs is not None and to in ("glb", "usd"):
        say("The surface is skinned without the pose's blend shapes, which the format does not have.")
    if to in ONE_EACH:
        from refit_rt.motion.amass import write_amass
        from refit_rt.motion.bvh import write_bvh

        for one in people:
            file = target if len(people) == 1 else target.with_stem(f"{target.stem}_person{one.person}")
            write_amass(file, one, used) if to == "amass" else write_bvh(file, one, used, called)
            say(f"{file}: person {one.person}, {len(one.pelvis)} frames at {one.fps:g} frames per second")
        return 0
    if to == "glb":
        from refit_rt.motion.gltf import write_glb

        write_glb(target, people, used, called)
    else:
        from refit_rt.motion.usd import write_usd

        write_usd(target, people, used, called)
    count = f"{len(people)} people" if len(people) > 1 else f"person {people[0].person}"
    say(f"{target}: {count}, {len(people[0].pelvis)} frames at {people[0].fps:g} frames per second")
    return 0


def _target(recording: Path, to: str, out: str) -> Path:
    """The file to write. Raises UserError for a name of another kind, and for the recording itself."""
    assert to in get_args(Target)
    suffixes = SUFFIXES[to]
    default = (
        recording.with_name(f"{recording.stem}_amass.npz") if to == "amass" else recording.with_suffix(suffixes[0])
    )
    target = Path(out).expanduser() if out else default
    if target.suffix.lower() not in suffixes:
        raise UserError(f"--out {out}: a file of --to {to} is called NAME{' or NAME'.join(suffixes)}")
    if target.resolve() == recording.resolve():
        raise UserError(f"--out {out}: is the recording itself. Give another name")
    return target
