"""The verb `import-smpl`: the user's SMPL model → a body file."""

from pathlib import Path

from tyro.conf import Positional

from refit_rt.commands.shared import File, say


def import_smpl(file: Positional[File], /, *, out: File = "smpl_neutral.npz") -> int:
    """Turn your own SMPL model into a body file for --fit.body.

    Args:
        file: SMPL_NEUTRAL.pkl, basicModel_neutral_lbs_10_207_0_v1.0.0.pkl, SMPL_NEUTRAL.npz, the downloaded
            SMPL_python_v.1.1.0.zip, or a folder that holds one of the first three.
        out: The body file to write.
    """
    from refit_rt.body import smpl_file

    say(f"{smpl_file.import_smpl(Path(file), Path(out))}: use it with --fit.body {out}")
    return 0
