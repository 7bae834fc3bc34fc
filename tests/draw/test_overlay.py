"""Triangles and bodies cover the pixels that geometry predicts, and nearer ones hide farther ones."""

import numpy as np
import pytest

from refit_rt.body.smpl import load_body
from refit_rt.draw.overlay import OPACITY, Overlay, contact_sheet
from refit_rt.draw.raster import barycentric, buffers, rasterise, vertex_normals
from refit_rt.geometry import axis_angle_from_matrix, project
from refit_rt.types import People

SIZE, FOCAL, CENTRE = (320, 240), 300.0, np.array([159.5, 119.5])
TOWARDS_CAMERA = np.diag([1.0, -1.0, -1.0])  # body frame (y up, facing +z) in the camera's


def test_the_rasteriser_equals_ray_casting():
    rng = np.random.default_rng(0)
    places = rng.uniform([-0.3, -0.25, 0.5], [0.3, 0.25, 2.0], (14, 1, 3))
    points = (places + rng.normal(0, 0.15, (14, 3, 3))).reshape(-1, 3).astype(np.float32)
    points[0:3] = [[-0.2, 0.1, 0.6], [0.3, 0.1, -0.5], [0.0, -0.2, 0.7]]  # reaches behind the camera
    faces = np.arange(42, dtype=np.int32).reshape(-1, 3)
    inverse, ids = buffers(60, 80)
    focal, centre = FOCAL / 4, (CENTRE + 0.5) / 4 - 0.5
    rasterise(points, faces, 0, focal, centre, inverse, ids, False)
    truth, depth = seen_by_rays(points, faces)
    same = ids == truth
    assert same.mean() > 0.995  # pixels on an edge may go either way
    seen = same & (ids >= 0)
    assert seen.sum() > 300
    np.testing.assert_allclose(1 / inverse[seen], depth[seen], rtol=1e-3)


def seen_by_rays(points: np.ndarray, faces: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The slow twin: every ray of an 80 x 60 picture against every triangle -> nearest ids (60, 80), depth."""
    ids, nearest = np.full((60, 80), -1), np.full((60, 80), np.inf)
    focal, centre = FOCAL / 4, (CENTRE + 0.5) / 4 - 0.5
    rows, columns = np.mgrid[0:60, 0:80]
    rays = np.stack([(columns - centre[0]) / focal, (rows - centre[1]) / focal, np.ones((60, 80))], -1)
    for f, (a, b, c) in enumerate(points[faces].astype(float)):
        normal = np.cross(b - a, c - a)
        facing = rays @ normal
        with np.errstate(divide="ignore"):
            depth = (normal @ a) / facing
        weights = (rays * depth[..., None]) @ np.linalg.inv(np.stack([a, b, c], 1)).T
        hit = (facing < 0) & (depth > 0.05) & (weights.min(-1) >= 0) & (depth < nearest)
        ids[hit], nearest[hit] = f, depth[hit]
    return ids, nearest


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_triangle_hides_the_farther_in_either_order(order):
    far = [[-1, 1, 3], [1, 1, 3], [0, -1, 3]]
    near = [[-0.2, 0.2, 1], [0.2, 0.2, 1], [0, -0.2, 1]]
    points = np.array([far, near], np.float32)[list(order)].reshape(-1, 3)
    inverse, ids = buffers(240, 320)
    rasterise(points, np.array([[0, 1, 2], [3, 4, 5]], np.int32), 0, FOCAL, CENTRE, inverse, ids, False)
    assert ids[119, 159] == order.index(1)
    assert inverse[119, 159] == pytest.approx(1.0, rel=1e-5)


def test_back_faces_are_drawn_only_when_asked_for():
    points = np.array([[-1, 1, 2], [1, 1, 2], [0, -1, 2]], np.float32)
    for faces, two_sided, seen in (([0, 1, 2], False, True), ([2, 1, 0], False, False), ([2, 1, 0], True, True)):
        inverse, ids = buffers(240, 320)
        rasterise(points, np.array([faces], np.int32), 7, FOCAL, CENTRE, inverse, ids, two_sided)
        assert (ids[119, 159] == 7) == seen


def test_barycentric_weights_put_the_ray_back_on_the_triangle():
    points = np.array([[-0.3, 0.2, 1.5], [0.4, 0.1, 2.5], [0.1, -0.4, 1.0]], np.float32)
    weights = np.array(barycentric(points, 0, 1, 2, 0.02, -0.03))
    at = weights @ points
    assert weights.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(at[:2] / at[2], [0.02, -0.03], atol=1e-5)


def test_normals_of_the_body_point_outwards():
    body = load_body()
    normals = vertex_normals(body.template, body.faces)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
    torso = body.skinning[:, [0, 3, 6, 9]].sum(1) > 0.9
    outwards = body.template[torso] - body.template[torso].mean(0)
    assert ((normals[torso] * outwards * [1, 0, 1]).sum(1) > 0).mean() > 0.95


def people_at(places: list[list[float]], ids: list[int], size: tuple[int, int] = SIZE) -> People:
    """T-posed people of mean shape who face the camera, 320 x 240."""
    n = len(places)
    poses = np.zeros((n, 24, 3), np.float32)
    poses[:, 0] = axis_angle_from_matrix(TOWARDS_CAMERA)
    scale = size[0] / SIZE[0]
    return People.of(
        {"ids": ids, "poses": poses, "trans": places, "confidence": np.full(n, 0.9)},
        camera="c",
        frame_index=0,
        captured_s=0,
        time_s=0,
        dropped=0,
        size=size,
        focal_px=FOCAL * scale,
        centre_px=(size[0] / 2 - 0.5, size[1] / 2 - 0.5),
    )


def changed_box(drawn: np.ndarray, below_px: int) -> np.ndarray:
    """Left, right, bottom of the pixels that are not black, without the label above `below_px`."""
    rows, columns = np.nonzero(drawn[below_px:].any(-1))
    return np.array([columns.min(), columns.max(), rows.max() + below_px])


def test_the_overlay_covers_the_projected_body_within_two_pixels():
    body, blank = load_body(), np.zeros((SIZE[1], SIZE[0], 3), np.uint8)
    people = people_at([[0.1, 0.2, 3.5]], [3])
    rotations = np.tile(np.eye(3), (24, 1, 1))
    rotations[0] = TOWARDS_CAMERA
    surface = body.vertices(rotations, np.zeros(10)) + people.trans[0]
    pixels = project(surface, FOCAL, CENTRE)
    drawn = Overlay(body, SIZE).draw(blank, people)
    top = int(pixels[:, 1].min()) + 3
    expected = [pixels[:, 0].min(), pixels[:, 0].max(), pixels[:, 1].max()]
    np.testing.assert_allclose(changed_box(drawn, top), expected, atol=2)
    inside = np.round(project(surface[body.skinning[:, 6] > 0.5], FOCAL, CENTRE)).astype(int)
    assert drawn[inside[:, 1], inside[:, 0]].any(-1).mean() > 0.94  # points on the outline may round to a pixel outside


def test_a_smaller_picture_shows_the_same_body_smaller():
    body = load_body()
    large = Overlay(body, SIZE).draw(np.zeros((240, 320, 3), np.uint8), people_at([[0, 0.2, 3.5]], [0]))
    small = Overlay(body, (160, 120)).draw(np.zeros((120, 160, 3), np.uint8), people_at([[0, 0.2, 3.5]], [0]))
    np.testing.assert_allclose(changed_box(small, 45), changed_box(large, 90) / 2, atol=1.5)


def test_the_person_in_front_is_visible_in_any_order_and_keeps_the_colour():
    body, grey = load_body(), np.full((240, 320, 3), 128, np.uint8)
    both = Overlay(body, SIZE).draw(grey, people_at([[0, 0.2, 4.5], [0, 0.2, 3.0]], [0, 5]))
    swapped = Overlay(body, SIZE).draw(grey, people_at([[0, 0.2, 3.0], [0, 0.2, 4.5]], [5, 0]))
    alone = Overlay(body, SIZE).draw(grey, people_at([[0, 0.2, 3.0]], [5]))
    np.testing.assert_array_equal(both[112, 150:170], swapped[112, 150:170])
    np.testing.assert_array_equal(both[112, 150:170], alone[112, 150:170])


def test_the_mesh_is_blended_with_the_picture_at_its_opacity():
    body, people = load_body(), people_at([[0, 0.2, 3.0]], [0])
    dark = Overlay(body, SIZE).draw(np.zeros((240, 320, 3), np.uint8), people)[112, 159].astype(float)
    light = Overlay(body, SIZE).draw(np.full((240, 320, 3), 200, np.uint8), people)[112, 159]
    np.testing.assert_allclose(light, dark + (1 - OPACITY) * 200, atol=1)


def test_without_people_the_picture_is_unchanged_and_people_behind_the_camera_do_no_harm():
    body, noise = load_body(), np.random.default_rng(1).integers(0, 255, (240, 320, 3)).astype(np.uint8)
    np.testing.assert_array_equal(Overlay(body, SIZE).draw(noise, people_at([], [])), noise)
    drawn = Overlay(body, SIZE).draw(noise, people_at([[0, 0, -2.0], [0.0, 0.0, 0.05]], [0, 1]))
    assert drawn.shape == noise.shape


def test_a_contact_sheet_lays_pictures_out_in_reading_order():
    sheet = contact_sheet([np.full((4, 6, 3), i + 1, np.uint8) for i in range(5)], 3)
    assert sheet.shape == (8, 18, 3)
    assert [sheet[0, 0, 0], sheet[0, 6, 0], sheet[0, 12, 0], sheet[4, 0, 0], sheet[4, 6, 0]] == [1, 2, 3, 4, 5]
    assert not sheet[4:, 12:].any()
