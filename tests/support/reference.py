"""Random weights, body and inputs, the same on every machine, for which the official code's answers are on file.

Each array comes from numpy's frozen `RandomState`, one stream a name, so no 300 MB file has to travel. The numbers mean
nothing; `data/reference/refit_*.npz` holds what the official ReFit code (commit 3167cbf) made of exactly these.
"""

import json
import zlib
from types import SimpleNamespace

import numpy as np

from tests.support.paths import DATA

HERE = DATA / "reference"
PARENTS = np.array([-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21])
VERTICES = 6890
STICK_FIGURE = np.array(
    [
        [0, 0, 0],
        [0.07, -0.09, 0],
        [-0.07, -0.09, 0],
        [0, 0.11, 0],
        [0.1, -0.47, 0],
        [-0.1, -0.47, 0],
        [0, 0.25, 0],
        [0.09, -0.88, -0.03],
        [-0.09, -0.88, -0.03],
        [0, 0.3, 0],
        [0.12, -0.94, 0.09],
        [-0.12, -0.94, 0.09],
        [0, 0.51, -0.03],
        [0.08, 0.42, -0.02],
        [-0.08, 0.42, -0.02],
        [0, 0.6, 0.02],
        [0.17, 0.45, -0.03],
        [-0.17, 0.45, -0.03],
        [0.43, 0.44, -0.05],
        [-0.43, 0.44, -0.05],
        [0.68, 0.45, -0.05],
        [-0.68, 0.45, -0.05],
        [0.77, 0.44, -0.06],
        [-0.77, 0.44, -0.06],
    ]
)  # joints in metres, T-pose, y up, +z forward


def stream(name: str) -> np.random.RandomState:
    return np.random.RandomState(zlib.crc32(name.encode()))


def seeded_weights() -> dict[str, np.ndarray]:
    """Official parameter name → float32 array, the three means included."""
    spec = json.loads((HERE / "state_dict_spec.json").read_text())
    weights = {name: draw(name, shape).astype(np.float32) for name, shape in spec.items()}
    with np.load(HERE / "mean_params.npz") as means:
        return weights | dict(means)


def draw(name: str, shape: list[int]) -> np.ndarray:
    """One parameter: sizes as a trained network's, decoders small, the markers' last maps large."""
    source = stream(name)
    if name.endswith("num_batches_tracked"):
        array = np.zeros(shape)
    elif name.endswith("running_var"):
        array = 1 + 0.2 * np.abs(source.standard_normal(shape))
    elif name.endswith("running_mean"):
        array = 0.1 * source.standard_normal(shape)
    elif name.endswith("weight") and len(shape) == 1:
        array = 0.5 + 0.05 * source.standard_normal(shape)
    elif name.endswith("bias"):
        array = 0.05 * source.standard_normal(shape)
    else:
        fan_in = shape[-1] if len(shape) == 3 else int(np.prod(shape[1:]))
        array = source.standard_normal(shape) * np.sqrt(2 / fan_in)
    array = array * 0.2 if ".dec" in name else array
    return np.asarray(array * 8 if name == "corr_layer.6.weight" else array)


def seeded_body() -> SimpleNamespace:
    """A cloud of points around a stick figure, in the fields of refit_rt.body.smpl.Body, and SMPL's regressor."""
    source = stream("body")
    owner = source.randint(0, 24, VERTICES)
    template = STICK_FIGURE[owner] + source.standard_normal((VERTICES, 3)) * [0.04, 0.06, 0.04]
    distance = np.linalg.norm(template[:, None] - STICK_FIGURE[None], axis=-1)
    skinning = np.exp(-((distance / 0.08) ** 2)) + 1e-6
    regressor = np.zeros((24, VERTICES))
    for joint in range(24):
        regressor[joint, np.argsort(distance[:, joint])[:20]] = 1 / 20
    shape_dirs = source.standard_normal((VERTICES, 3, 10)) * 0.01
    pose_dirs = source.standard_normal((VERTICES, 3, 207)) * 0.002
    return SimpleNamespace(
        template=template,
        shape_dirs=shape_dirs,
        pose_dirs=pose_dirs,
        skinning=skinning / skinning.sum(1, keepdims=True),
        regressor=regressor,
        joint_template=regressor @ template,
        joint_shape_dirs=np.einsum("jv,vcs->jcs", regressor, shape_dirs),
        faces=source.randint(0, VERTICES, (13776, 3)),
        parents=PARENTS,
        markers=np.load(HERE / "markers.npy"),
    )


def seeded_inputs(batch: int) -> dict[str, np.ndarray]:
    """images (batch, 3, 256, 256) normalised, box (batch, 3) px, focal_px, width_px (batch,), centre_px (batch, 2)."""
    source = stream("inputs")
    coarse = source.standard_normal((batch, 3, 32, 32))
    images = np.kron(coarse, np.ones((1, 1, 8, 8))) + 0.1 * source.standard_normal((batch, 3, 256, 256))
    centre = source.uniform([500, 300], [1400, 800], (batch, 2))
    side = 200 * source.uniform(1.5, 4, batch).astype(np.float32)  # the official "scale" is the side over 200
    focal_px = source.uniform(900, 2000, batch)
    arrays = {
        "images": images,
        "box": np.concatenate([centre, side[:, None]], axis=1),
        "focal_px": focal_px,
        "centre_px": np.tile([960, 540], (batch, 1)),
        "width_px": np.full(batch, 1920),
    }
    return {name: array.astype(np.float32) for name, array in arrays.items()}
