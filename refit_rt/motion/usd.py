"""Writes people's motion as USD with usd-core: a UsdSkel skeleton, its animation and the skinned body of each person.

y up, metres. A person who is away is invisible in the meantime.
"""
# pyright: reportAttributeAccessIssue=false
# usd-core is compiled and has no types.

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import Body
from refit_rt.errors import UserError
from refit_rt.files import write_whole
from refit_rt.motion import skeleton
from refit_rt.motion.gltf import COLOURS
from refit_rt.motion.performance import Performance
from refit_rt.types import JOINTS


def write_usd(path: Path, people: Sequence[Performance], body: Body, names: Sequence[str]) -> None:
    """Writes a .usdc or .usda file. names: of the 24 joints, which make paths and lose what USD's names cannot hold.

    Raises UserError when usd-core is not installed or the file cannot be written.
    """
    try:
        from pxr import Tf, Usd, UsdGeom
    except ImportError as error:
        raise UserError("--to usd needs usd-core. Install it: pip install usd-core") from error
    with write_whole(path) as part:
        part.unlink()  # USD makes its own file
        stage = Usd.Stage.CreateNew(str(part))
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        stage.SetTimeCodesPerSecond(people[0].fps)
        stage.SetFramesPerSecond(people[0].fps)
        stage.SetStartTimeCode(0)
        stage.SetEndTimeCode(len(people[0].pelvis) - 1)
        world = UsdGeom.Xform.Define(stage, "/World")
        stage.SetDefaultPrim(world.GetPrim())
        valid = [Tf.MakeValidIdentifier(name) for name in names]
        for number, one in enumerate(people):
            _add(stage, f"/World/person_{one.person}", one, body, valid, COLOURS[number % len(COLOURS)])
        stage.GetRootLayer().Save()


def _add(
    stage: Any, place: str, one: Performance, body: Body, names: Sequence[str], colour: tuple[float, float, float]
) -> None:
    from pxr import Gf, UsdGeom, UsdSkel, Vt

    paths: list[str] = []
    for joint, parent in enumerate(body.parents):
        paths.append(names[joint] if parent < 0 else f"{paths[parent]}/{names[joint]}")
    rest, offsets = skeleton.rest_joints(body, one.betas), skeleton.offsets(body, one.betas)
    root = UsdSkel.Root.Define(stage, place)
    bones = UsdSkel.Skeleton.Define(stage, f"{place}/skeleton")
    bones.CreateJointsAttr(paths)
    bones.CreateBindTransformsAttr([Gf.Matrix4d().SetTranslate(Gf.Vec3d(*point)) for point in rest.tolist()])
    bones.CreateRestTransformsAttr([Gf.Matrix4d().SetTranslate(Gf.Vec3d(*point)) for point in offsets.tolist()])
    motion = UsdSkel.Animation.Define(stage, f"{place}/motion")
    motion.CreateJointsAttr(paths)
    motion.CreateScalesAttr([Gf.Vec3h(1, 1, 1)] * JOINTS)
    turns, places = motion.CreateRotationsAttr(), motion.CreateTranslationsAttr()
    seen = UsdGeom.Imageable(root).CreateVisibilityAttr()
    local = np.repeat(offsets[None].astype(np.float32), len(one.pelvis), 0)
    local[:, 0] = one.pelvis
    flat = Rotation.from_matrix(one.rotations.reshape(-1, 3, 3)).as_quat(canonical=True)
    quaternions = flat.reshape(-1, JOINTS, 4).astype(np.float32)  # x y z w, as USD keeps them
    for frame in range(len(one.pelvis)):
        turns.Set(Vt.QuatfArray.FromNumpy(quaternions[frame]), frame)
        places.Set(Vt.Vec3fArray.FromNumpy(local[frame]), frame)
        if frame == 0 or one.there[frame] != one.there[frame - 1]:
            seen.Set("inherited" if one.there[frame] else "invisible", frame)
    UsdSkel.BindingAPI.Apply(bones.GetPrim()).CreateAnimationSourceRel().SetTargets([motion.GetPath()])
    mesh = UsdGeom.Mesh.Define(stage, f"{place}/body")
    surface = body.template + body.shape_dirs @ one.betas - body.rest_pelvis(one.betas)
    mesh.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(np.ascontiguousarray(surface, np.float32)))
    mesh.CreateFaceVertexCountsAttr([3] * len(body.faces))
    mesh.CreateFaceVertexIndicesAttr(body.faces.reshape(-1).tolist())
    mesh.CreateSubdivisionSchemeAttr("none")
    mesh.CreateDisplayColorAttr([Gf.Vec3f(*colour)])
    binding = UsdSkel.BindingAPI.Apply(mesh.GetPrim())
    joints, weights = skeleton.influences(body)
    binding.CreateJointIndicesPrimvar(False, skeleton.INFLUENCES).Set(joints.reshape(-1).tolist())
    binding.CreateJointWeightsPrimvar(False, skeleton.INFLUENCES).Set(weights.reshape(-1).tolist())
    binding.CreateSkeletonRel().SetTargets([bones.GetPath()])
