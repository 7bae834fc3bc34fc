"""What other programs call SMPL's joints."""

import json
from pathlib import Path

from refit_rt.body.smpl import JOINT_NAMES
from refit_rt.errors import UserError

# SMPL's own names, as its Blender add-on and the AMASS tools write them.
SMPL = (
    *("Pelvis", "L_Hip", "R_Hip", "Spine1", "L_Knee", "R_Knee", "Spine2", "L_Ankle", "R_Ankle", "Spine3", "L_Foot"),
    *("R_Foot", "Neck", "L_Collar", "R_Collar", "Head", "L_Shoulder", "R_Shoulder", "L_Elbow", "R_Elbow", "L_Wrist"),
    *("R_Wrist", "L_Hand", "R_Hand"),
)
# Mixamo's rig. SMPL's hand joint lies at the knuckles, where Mixamo's middle finger begins.
MIXAMO = tuple(
    f"mixamorig:{name}"
    for name in (
        *("Hips", "LeftUpLeg", "RightUpLeg", "Spine", "LeftLeg", "RightLeg", "Spine1", "LeftFoot", "RightFoot"),
        *("Spine2", "LeftToeBase", "RightToeBase", "Neck", "LeftShoulder", "RightShoulder", "Head", "LeftArm"),
        *("RightArm", "LeftForeArm", "RightForeArm", "LeftHand", "RightHand", "LeftHandMiddle1", "RightHandMiddle1"),
    )
)
# VRM's humanoid bones. Unity's HumanBodyBones, which VMC sends, are the same with a capital first letter.
VRM = (
    *("hips", "leftUpperLeg", "rightUpperLeg", "spine", "leftLowerLeg", "rightLowerLeg", "chest", "leftFoot"),
    *("rightFoot", "upperChest", "leftToes", "rightToes", "neck", "leftShoulder", "rightShoulder", "head"),
    *("leftUpperArm", "rightUpperArm", "leftLowerArm", "rightLowerArm", "leftHand", "rightHand"),
    *("leftMiddleProximal", "rightMiddleProximal"),
)
UNREAL = (
    *("pelvis", "thigh_l", "thigh_r", "spine_01", "calf_l", "calf_r", "spine_02", "foot_l", "foot_r", "spine_03"),
    *("ball_l", "ball_r", "neck_01", "clavicle_l", "clavicle_r", "head", "upperarm_l", "upperarm_r", "lowerarm_l"),
    *("lowerarm_r", "hand_l", "hand_r", "middle_01_l", "middle_01_r"),
)
MAPS = {"smpl": SMPL, "mixamo": MIXAMO, "vrm": VRM, "unreal": UNREAL}


def bone_names(which: str) -> tuple[str, ...]:
    """The names of the 24 joints: those of a map in MAPS, or of a JSON file {joint: name} with every joint of
    smpl.JOINT_NAMES. Raises UserError."""
    if which in MAPS:
        return MAPS[which]
    if not which.endswith(".json"):
        raise UserError(f"--names {which}: give {', '.join(MAPS)}, or a .json file with the name of each joint")
    try:
        names = json.loads(Path(which).expanduser().read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{which}: cannot be read as JSON ({error}). Give a file like {{'pelvis': 'Hips', …}}"
        ) from error
    missing = [joint for joint in JOINT_NAMES if not isinstance(names, dict) or not isinstance(names.get(joint), str)]
    if missing:
        raise UserError(f"{which}: has no name for {', '.join(missing)}. Every joint needs one")
    if unknown := [name for name in names if name not in JOINT_NAMES]:
        raise UserError(f"{which}: {', '.join(unknown)} is no joint. The joints are {', '.join(JOINT_NAMES)}")
    given = tuple(names[joint] for joint in JOINT_NAMES)
    if twice := sorted({name for name in given if given.count(name) > 1}):
        raise UserError(f"{which}: {', '.join(twice)} is given to two joints. Every joint needs a name of its own")
    return given
