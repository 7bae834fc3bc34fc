"""Maps MakeHuman's 163 bones to SMPL's 24 joints: which bone moves with which joint, and where each joint lies."""

import numpy as np

from refit_rt.body.smpl import JOINT_NAMES
from training.body.rig import Rig

PELVIS_SMPL = np.array([0.0, -0.223, 0.028], np.float32)  # about where SMPL's template has its root, metres
# MakeHuman's thigh bones start at the trochanter; SMPL's hips sit nearer the hip socket.
HIP_SHARE_OF_X = 0.8
TRUNK = {"root": "pelvis", "pelvis": "pelvis", "spine05": "pelvis", "spine04": "pelvis", "spine03": "spine1"}
TRUNK |= {"spine02": "spine2", "spine01": "spine3", "breast": "spine3"}
LIMBS = {"clavicle": "collar", "shoulder01": "collar", "upperarm": "shoulder", "lowerarm": "elbow", "wrist": "wrist"}
LIMBS |= {"metacarpal": "wrist", "finger1": "wrist", "finger": "hand"}  # the thumb's root moves with the palm
LIMBS |= {"upperleg": "hip", "lowerleg": "knee", "foot": "ankle", "toe": "foot"}


def joint_of_bone(bone: str) -> str:
    """The SMPL joint that a MakeHuman bone moves with: "finger2-1.L" -> "l_hand"."""
    name, _, side = bone.partition(".")
    if name in TRUNK:
        return TRUNK[name]
    if name.startswith("neck"):
        return "neck"
    for start, joint in LIMBS.items():  # in order: finger1 before finger
        if name.startswith(start):
            return f"{side.lower()}_{joint}"
    return "head"


def group_weights(rig: Rig) -> np.ndarray:
    """Sums the rig's skinning (V, bone) over the bones of each joint -> (V, 24), rows sum to 1."""
    weights = np.zeros((len(rig.template), len(JOINT_NAMES)))
    for index, bone in enumerate(rig.bone_names):
        weights[:, JOINT_NAMES.index(joint_of_bone(str(bone)))] += rig.skinning[:, index]
    return weights / weights.sum(1, keepdims=True)


def joint_places(rig: Rig, heads: np.ndarray) -> np.ndarray:
    """Places SMPL's joints (n, 24, 3), metres, by the bone heads (n, bone, 3) of T-posed shapes."""
    index = {str(name): i for i, name in enumerate(rig.bone_names)}

    def mix(**shares: float) -> np.ndarray:
        return sum(share * heads[:, index[bone]] for bone, share in shares.items())  # type: ignore[return-value]

    thighs = (heads[:, index["upperleg01.L"]] + heads[:, index["upperleg01.R"]]) / 2
    pelvis = mix(spine04=1.0)
    pelvis[:, 0], pelvis[:, 2] = 0, (pelvis[:, 2] + thighs[:, 2]) / 2
    places = {
        "pelvis": pelvis,
        "spine1": mix(spine03=0.6, spine02=0.4),
        "spine2": mix(spine02=0.5, spine01=0.5),
        "spine3": mix(spine01=1.0),
        "neck": mix(neck01=0.4, neck02=0.6),
        "head": mix(head=1.0),
    }
    for prefix, s in (("l_", ".L"), ("r_", ".R")):
        hip = mix(**{f"upperleg01{s}": 1.0})
        hip[:, 0] *= HIP_SHARE_OF_X
        limb = {
            "hip": hip,
            "knee": mix(**{f"lowerleg01{s}": 1.0}),
            "ankle": mix(**{f"foot{s}": 1.0}),
            "foot": mix(**{f"toe{toe}-1{s}": 1 / 3 for toe in (1, 2, 3)}),
            "collar": mix(**{f"clavicle{s}": 0.35, f"shoulder01{s}": 0.65}),
            "shoulder": mix(**{f"upperarm01{s}": 1.0}),
            "elbow": mix(**{f"lowerarm01{s}": 1.0}),
            "wrist": mix(**{f"wrist{s}": 1.0}),
            "hand": mix(**{f"finger{finger}-1{s}": 0.25 for finger in (2, 3, 4, 5)}),
        }
        places |= {prefix + name: place for name, place in limb.items()}
    return np.stack([places[name] for name in JOINT_NAMES], 1)
