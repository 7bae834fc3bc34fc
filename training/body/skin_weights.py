"""Softens MakeHuman's skinning weights: diffuses them over the surface where LBS creases."""

from dataclasses import replace

import numpy as np
from scipy.sparse import csr_matrix, diags

from refit_rt.body.smpl import JOINT_NAMES
from training.body.rig import Rig
from training.body.surface import edge_list

# Joint: (reach in metres over which weights are diffused, steps). Set by looking at seated, crouching, arms-up poses.
SOFT_JOINTS = {"hip": (0.17, 40), "knee": (0.11, 12), "shoulder": (0.16, 40), "collar": (0.16, 60), "elbow": (0.08, 10)}
# The same for MakeHuman's own bones, on the way to the T-pose: without it the straightened elbow has a ridge.
SOFT_BONES = {"lowerarm01": (0.09, 20), "upperarm01": (0.10, 10)}
LEAST_WEIGHT = 0.01  # influences below this are dropped
MOST_INFLUENCES = 6  # mirroring afterwards can add one


def soften_joints(weights: np.ndarray, template: np.ndarray, faces: np.ndarray, joints: np.ndarray) -> np.ndarray:
    """Diffuses weights (V, 24) of the T-posed template (V, 3) around joints (24, 3) -> (V, 24), rows sum to 1."""
    average = _neighbour_average(template, faces)
    for name, (reach_m, steps) in SOFT_JOINTS.items():
        centres = joints[[JOINT_NAMES.index(side + name) for side in ("l_", "r_")]]
        weights = _diffused(weights, average, template, centres, reach_m, steps)
    return _few(weights)


def soften_bones(rig: Rig) -> Rig:
    """The rig with its skinning diffused around elbows and shoulders."""
    average = _neighbour_average(rig.template, rig.faces)
    weights = rig.skinning
    for name, (reach_m, steps) in SOFT_BONES.items():
        centres = rig.bone_heads[np.isin(rig.bone_names, [name + ".L", name + ".R"])]
        weights = _diffused(weights, average, rig.template, centres, reach_m, steps)
    return replace(rig, skinning=weights.astype(np.float32))


def _neighbour_average(template: np.ndarray, faces: np.ndarray) -> csr_matrix:
    """The matrix (V, V) that averages each vertex's value over its neighbours, with more weight on near ones."""
    edges = edge_list(faces)
    both = np.concatenate([edges, edges[:, ::-1]])
    nearness = 1 / np.linalg.norm(template[both[:, 0]] - template[both[:, 1]], axis=1).clip(1e-4)
    graph = csr_matrix((nearness, (both[:, 0], both[:, 1])), shape=(len(template), len(template)))
    return diags(1 / np.asarray(graph.sum(1)).ravel().clip(1e-9)) @ graph


def _diffused(weights, average, template, centres, reach_m: float, steps: int) -> np.ndarray:
    """Diffuses weights (V, n) within reach of the centres (2, 3), less towards the rim."""
    distance = np.linalg.norm(template[:, None] - centres, axis=2).min(1)
    near = np.flatnonzero(distance < reach_m)
    share = 0.5 * (1 - (distance[near] / reach_m) ** 2)[:, None]
    rows, weights = average[near], weights.copy()
    for _ in range(steps):
        weights[near] += share * (rows @ weights - weights[near])
    return weights


def _few(weights: np.ndarray) -> np.ndarray:
    """Keeps the strongest influences of each vertex."""
    weakest_kept = np.sort(weights, axis=1)[:, -MOST_INFLUENCES, None]
    weights = np.where(weights >= np.maximum(weakest_kept, LEAST_WEIGHT), weights, 0)
    return weights / weights.sum(1, keepdims=True)
