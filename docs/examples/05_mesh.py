"""The mesh of a pose: one row of a recording → an .obj file that any 3-D program opens.

python docs/examples/05_mesh.py motion.npz [ROW] [OUT.obj]
"""

import sys
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

import refit_rt

motion = refit_rt.read_motion(Path(sys.argv[1]))
row = int(sys.argv[2]) if len(sys.argv) > 2 else 0
out = Path(sys.argv[3]) if len(sys.argv) > 3 else Path("person.obj")

body = refit_rt.load_body()  # or load_body(Path("smpl_neutral.npz")), the body that the recording was made with
rotations = Rotation.from_rotvec(motion.poses[row].reshape(24, 3)).as_matrix()
vertices = body.vertices(rotations, motion.betas[row]) + motion.trans[row]  # (V, 3) metres, camera frame
vertices = vertices * np.array([1, -1, -1])  # y up, as .obj files have it

lines = [f"v {x:.5f} {y:.5f} {z:.5f}" for x, y, z in vertices]
lines += [f"f {a} {b} {c}" for a, b, c in body.faces + 1]
out.write_text("\n".join(lines) + "\n")
print(f"{out}: {len(vertices)} vertices, {np.ptp(vertices[:, 1]):.2f} m from the lowest to the highest")
