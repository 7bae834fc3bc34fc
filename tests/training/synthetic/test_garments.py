"""Garments as meshes: they are bound as their files say, follow the body, and are not shared with the benchmark."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from refit_rt.body.smpl import PACKAGED, load_body
from refit_rt.errors import UserError
from tests.support.paths import SHARED
from training.synthetic import Assets, Generator, cloth, garment_files, garments, wardrobe
from training.synthetic.figure import make_figure
from training.synthetic.people import posed, random_betas

MAKEHUMAN = SHARED / "assets" / "makehuman_cc0"
UPRIGHT = np.tile(np.eye(3), (24, 1, 1))
TRUNK = ([0.18, 0.45], 0.2)  # heights and half the width of a vest on the base mesh, metres
LEGS = ([-0.6, 0.15], 0.4)
FEET = ([-0.9, -0.7], 0.4)
CROWN = ([0.74, 0.9], 0.4)


@pytest.fixture(scope="module")
def figure():
    return make_figure(load_body())


def skin_ids(heights: list[float], half_width: float) -> tuple[np.ndarray, np.ndarray]:
    """Base mesh ids (n,) of a part of the free body's skin, and its faces (f, 3) into them."""
    with np.load(PACKAGED) as archive:
        index, faces = archive["base_mesh_index"], archive["f"]
    at = garment_files.base_vertices()[index]
    inside = (at[:, 1] > heights[0]) & (at[:, 1] < heights[1]) & (np.abs(at[:, 0]) < half_width) & (index < 13380)
    faces = faces[inside[faces].all(1)]
    used, packed = np.unique(faces, return_inverse=True)
    return index[used], packed.reshape(-1, 3)


def write_garment(folder: Path, name: str, heights: list[float], half_width: float) -> tuple[np.ndarray, np.ndarray]:
    """A second skin 1 cm before the base mesh's, as MakeHuman writes garments -> base ids (n,), faces (f, 3)."""
    ids, faces = skin_ids(heights, half_width)
    folder.mkdir(parents=True, exist_ok=True)
    lines = ["# a garment", "basemesh hm08", f"obj_file {name}.obj", "x_scale 5399 11998 1", "z_scale 962 5320 1"]
    base = garment_files.base_vertices()
    depth = 0.01 / abs(base[962, 2] - base[5320, 2])
    lines += ["verts 0", *(f"{i} {i} {i} 0.5 0.25 0.25 0 0 {depth:.6f}" for i in ids)]
    lines += ["delete_verts", f"{ids[0]} - {ids[0]} {ids[len(ids) // 2]}"]
    (folder / f"{name}.mhclo").write_text("\n".join(lines))
    mesh = ["v 0 0 0"] * len(ids) + ["f " + " ".join(f"{i + 1}/1" for i in face) for face in faces]
    (folder / f"{name}.obj").write_text("\n".join(mesh))
    return ids, faces


def write_wardrobe(folder: Path) -> None:
    for name, place in (("vest", TRUNK), ("trousers", LEGS), ("shoes", FEET), ("wig", CROWN)):
        write_garment(folder / name, name, *place)


def test_vertices_lie_where_their_binding_says_within_a_hundredth_of_a_millimetre(tmp_path):
    ids, _ = write_garment(tmp_path, "vest", *TRUNK)
    name, vertices, hides = garment_files.read_binding(tmp_path / "vest.mhclo", garment_files.base_vertices())
    assert name == "vest.obj"
    np.testing.assert_allclose(vertices, garment_files.base_vertices()[ids] + [0, 0, 0.01], atol=1e-5)
    assert set(hides) == {ids[0], ids[len(ids) // 2]}


def test_what_a_piece_is_follows_from_where_it_lies(tmp_path):
    write_wardrobe(tmp_path)
    kinds = {piece.name: piece.kind for piece in garment_files.read_pieces(tmp_path)}
    assert kinds["vest"] == garment_files.TOP
    assert kinds["trousers"] == garment_files.BOTTOM
    assert kinds["shoes"] == garment_files.SHOES
    assert kinds["wig"] in (garment_files.HAIR, garment_files.HAT)


def test_a_garment_stays_within_four_centimetres_of_its_skin_in_any_shape_and_pose(tmp_path, figure):
    rng = np.random.default_rng(0)
    ids, _ = write_garment(tmp_path, "vest", *TRUNK)
    garment = garments.load_wardrobe(tmp_path, figure).tops[0]
    with np.load(PACKAGED) as archive:
        below = np.searchsorted(archive["base_mesh_index"], ids)
        np.testing.assert_array_equal(archive["base_mesh_index"][below], ids)
    only = garments.Wardrobe([garment], [], [], [], [], [])
    outfit = wardrobe.random_dressed(rng, figure, only)
    while cloth.GARMENT + cloth.SHIRT not in outfit.coordinates[:, 5]:  # drawn without it
        outfit = wardrobe.random_dressed(rng, figure, only)
    for _ in range(4):
        pose = Rotation.from_rotvec(rng.normal(0, 0.4, (24, 3))).as_matrix()
        betas = random_betas(rng)
        points = posed(outfit, figure.body, pose, betas)
        worn = points[outfit.coordinates[:, 5] == cloth.GARMENT + cloth.SHIRT]
        skin = figure.body.vertices(pose, betas)[below]
        assert np.linalg.norm(worn - skin, axis=1).max() < 0.04


def test_no_vertex_is_under_the_skin_in_the_rest_pose(tmp_path, figure):
    write_wardrobe(tmp_path)
    worn = garments.load_wardrobe(tmp_path, figure)
    for garment in worn.tops + worn.bottoms + worn.hair:
        assert garment.height.min() > 0
        np.testing.assert_allclose(garment.weights.sum(1), 1, atol=1e-5)


def test_garments_change_pictures_the_same_way_each_time_and_are_shared_out(tmp_path):
    for number in range(6):
        write_garment(tmp_path, f"vest{number}", *TRUNK)
    assets = Assets(garments=tmp_path)
    first = Generator(seed=3, assets=assets, outfits=4)
    image = first.sample(2).image
    meshes = [outfit for outfit in first.outfits if (outfit.coordinates[:, 5] >= cloth.GARMENT).any()]
    assert 0 < len(meshes) <= 4
    np.testing.assert_array_equal(Generator(seed=3, assets=assets, outfits=4).sample(2).image, image)
    assert first.wardrobe is not None
    held = Generator(seed=3, assets=assets, held_out=True, outfits=1).wardrobe
    assert held is not None
    seen = {garment.name for garment in first.wardrobe.tops}
    assert seen
    assert not seen & {garment.name for garment in held.tops}


def test_a_garments_layer_is_painted_wherever_it_reaches():
    cuts = np.full(cloth.CUTS, -9.0, np.float32)
    for layer in (cloth.SHIRT, cloth.TROUSERS, cloth.SHOES, cloth.HAIR):
        assert cloth.layer_at(cloth.GARMENT + layer, 0.1, 0.2, 0.0, 1.0, 1.0, cuts, 0.0) == layer


def damage(folder: Path, kind: str) -> None:
    write_garment(folder, "vest", *TRUNK)
    binding, mesh = folder / "vest.mhclo", folder / "vest.obj"
    match kind:
        case "no mesh":
            mesh.unlink()
        case "mesh cut off":
            mesh.write_text(mesh.read_text()[:4000])
        case "faces of another mesh":
            mesh.write_text(mesh.read_text() + "\nf 1 2 99999")
        case "binding cut off":
            binding.write_text(binding.read_text()[:4000])
        case "no binding":
            binding.write_text("<html>not found</html>")
        case "another base mesh":
            binding.write_text(binding.read_text().replace("verts 0\n", "verts 0\n99999\n"))


@pytest.mark.parametrize(
    "kind", ["no mesh", "mesh cut off", "faces of another mesh", "binding cut off", "no binding", "another base mesh"]
)
def test_a_broken_garment_is_named(tmp_path, kind, figure):
    damage(tmp_path, kind)
    with pytest.raises(UserError, match=r"vest\.(mhclo|obj)"):
        garments.load_wardrobe(tmp_path, figure)


def test_an_empty_folder_of_garments_is_named_with_the_cure(tmp_path):
    with pytest.raises(UserError, match=str(tmp_path)):
        Generator(assets=Assets(garments=tmp_path), outfits=1)


@pytest.mark.skipif(not MAKEHUMAN.is_dir(), reason="MakeHuman's garments are not here")
def test_makehumans_garments_lie_over_the_body_without_spikes(figure):
    worn = garments.load_wardrobe(MAKEHUMAN, figure)
    assert min(map(len, (worn.tops, worn.bottoms, worn.suits, worn.shoes, worn.hair, worn.hats))) > 1
    for garment in worn.tops + worn.bottoms + worn.suits + worn.hair + worn.hats:
        assert (garment.height < -0.002).mean() < 0.01  # of the vertices more than 2 mm under the skin
        assert np.abs(garment.rest - figure.body.template.mean(0)).max() < 1.3
        edges = garment.faces[:, [0, 1]]
        assert np.linalg.norm(garment.rest[edges[:, 0]] - garment.rest[edges[:, 1]], axis=1).max() < 0.2
