"""The network reproduces the official code's outputs, and its parts obey their laws."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the network needs torch: pip install refit-rt[train]")

from refit_rt.model import camera, feedback, refit, rotation, start, views  # noqa: E402
from refit_rt.model.body import BodyTorch  # noqa: E402
from refit_rt.model.config import EDGE, ReFitConfig  # noqa: E402
from refit_rt.model.weights import from_official, load_into  # noqa: E402
from tests.support import reference  # noqa: E402
from tests.support.tiny import Tiny  # noqa: E402

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def official() -> refit.ReFit:
    model = refit.build(ReFitConfig(), reference.seeded_body())  # type: ignore[arg-type]
    weights = {name: torch.as_tensor(array) for name, array in reference.seeded_weights().items()}
    load_into(model, from_official(weights), "seeded weights")
    return model.eval()


def inputs(batch: int):
    drawn = {name: torch.as_tensor(array) for name, array in reference.seeded_inputs(batch).items()}
    view = camera.View(drawn["box"], drawn["focal_px"], drawn["centre_px"])
    return drawn["images"], view, drawn["width_px"]


def assert_official(estimates: list, view: camera.View, name: str) -> None:
    """Every iteration is within 1e-3 (metres, radians) and 0.2 px. Float noise grows from 1e-6 to 6e-5 in the loop."""
    truth = np.load(reference.HERE / name)
    for i, estimate in enumerate(estimates):
        for ours, theirs, tolerance in (
            ("rotations", "rotmat", 1e-3),
            ("betas", "shape", 1e-3),
            ("cam", "cam", 1e-3),
            ("joints", "joints24", 1e-3),
            ("markers", "markers", 1e-3),
            ("markers_px", "markers2d", 0.2),
        ):
            np.testing.assert_allclose(
                getattr(estimate, ours), truth[theirs][i], atol=tolerance, rtol=0, err_msg=f"{ours} of iteration {i}"
            )
    assert len(estimates) == len(truth["rotmat"])
    place = camera.translation(estimates[-1].cam, view)[:, None]
    # metres; the distance is 2 focal / (side · scale), so an error of the scale is multiplied by the distance
    np.testing.assert_allclose(place, truth["trans_full"], rtol=1e-3, atol=1e-3)


@torch.no_grad()
def test_every_iteration_equals_the_official_one(official):
    images, view, _ = inputs(2)
    assert_official(official(official.backbone(images), view), view, "refit_w48.npz")


@torch.no_grad()
def test_the_flip_test_equals_the_official_one(official):
    normal, view, width = inputs(2)
    images = normal * official.get_buffer("rgb_spread") + official.get_buffer("rgb_mean")
    estimate = views.flip_test(official, images, view, width)
    truth = np.load(reference.HERE / "refit_w48_flip.npz")
    np.testing.assert_allclose(estimate.rotations, truth["final_rotmat"], atol=1e-3)
    np.testing.assert_allclose(estimate.betas, truth["final_shape"], atol=1e-3)


def crossed_over_views(pose6d):
    """The official `rot6d_to_rotmat`: it calls torch.cross without a dimension, which takes the first axis of size 3.
    For the roots of exactly three views that is the axis of the views. The recorded reference contains this error."""
    columns = pose6d.unflatten(-1, (3, 2))
    first = torch.nn.functional.normalize(columns[..., 0], dim=-1)
    second = columns[..., 1] - (first * columns[..., 1]).sum(-1, keepdim=True) * first
    second = torch.nn.functional.normalize(second, dim=-1)
    return torch.stack([first, second, torch.linalg.cross(first, second, dim=0)], dim=-1)[:, None]


@torch.no_grad()
def test_multi_view_equals_the_official_one_except_for_its_error_with_three_views(official, monkeypatch):
    truth = np.load(reference.HERE / "refit_w48_multiview.npz")
    images, view, _ = inputs(3)
    agree = views.average_views(torch.as_tensor(truth["cam_R"]))
    monkeypatch.setattr(views, "matrix_from_6d", crossed_over_views)
    assert_official(official(official.backbone(images), view, agree=agree), view, "refit_w48_multiview.npz")


@pytest.fixture(scope="module")
def edge() -> refit.ReFit:
    torch.manual_seed(3)
    return refit.build(EDGE, reference.seeded_body(), Tiny(keypoints=True)).eval()  # type: ignore[arg-type]


def a_view(batch: int, seed: int = 0) -> camera.View:
    make = torch.Generator().manual_seed(seed)
    box = torch.tensor([700.0, 400.0, 400.0]) + 200 * torch.rand(batch, 3, generator=make)
    centre_px = torch.tensor([[640.0, 360.0]]).expand(batch, 2)
    return camera.View(box, 1000 + 500 * torch.rand(batch, generator=make), centre_px)


def test_one_gru_per_head_equals_the_batched_gru(edge):
    gru, hidden = edge.update.gru, edge.config.hidden
    h, x = torch.randn(3, 26, hidden), torch.randn(3, 416)
    weight = gru.from_input.weight.unflatten(0, (26, 3, hidden))
    bias = gru.from_input.bias.unflatten(0, (26, 3, hidden))
    own = gru.from_hidden.unflatten(1, (3, hidden))
    for head in range(26):
        z, r = (
            torch.sigmoid(x @ weight[head, gate].T + bias[head, gate] + h[:, head] @ own[head, gate].T)
            for gate in (0, 1)
        )
        q = torch.tanh(x @ weight[head, 2].T + bias[head, 2] + (r * h[:, head]) @ own[head, 2].T)
        torch.testing.assert_close(gru(h, x)[:, head], (1 - z) * h[:, head] + z * q, atol=1e-5, rtol=0)


def test_windows_are_read_in_the_official_order_and_zero_outside():
    maps = torch.arange(64.0 * 64).view(1, 1, 64, 64)
    window = feedback.sample_maps(maps, torch.tensor([[[80.0, 40.0]]]), feedback.window_offsets(1)).view(3, 3)
    x_is_slow = [[64 * y + x for y in (9, 10, 11)] for x in (19, 20, 21)]
    np.testing.assert_allclose(window, x_is_slow, atol=1e-3)
    outside = feedback.sample_maps(maps, torch.tensor([[[-40.0, 900.0]]]), feedback.window_offsets(3))
    assert outside.abs().max() == 0


def test_the_camera_and_its_inverse_cancel():
    view = a_view(50)
    cam = torch.stack([0.4 + torch.rand(50), torch.randn(50), torch.randn(50)], dim=1)
    back = camera.cam_from_translation(camera.translation(cam, view), view)
    torch.testing.assert_close(back, cam, atol=1e-4, rtol=1e-4)


def test_scale_one_without_offset_is_the_middle_of_the_crop():
    view = a_view(4)
    cam = torch.tensor([[1.0, 0.0, 0.0]]).expand(4, 3)
    middle = camera.project_to_crop(torch.zeros(4, 1, 3), cam, view)
    torch.testing.assert_close(middle, torch.full((4, 1, 2), 128.0), atol=1e-3, rtol=0)
    metre_right = camera.project_to_crop(torch.tensor([[[1.0, 0.0, 0.0]]]).expand(4, 1, 3), cam, view)
    torch.testing.assert_close(metre_right[..., 0], torch.full((4, 1), 256.0), atol=1e-3, rtol=0)


def test_rotations_survive_a_round_trip():
    torch.manual_seed(0)
    turns = torch.randn(500, 3)
    turns = turns / turns.norm(dim=-1, keepdim=True) * torch.linspace(0, np.pi - 1e-3, 500)[:, None]
    matrices = rotation.matrix_from_axis_angle(turns)
    torch.testing.assert_close(matrices @ matrices.mT, torch.eye(3).expand(500, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(rotation.axis_angle_from_matrix(matrices), turns, atol=2e-3, rtol=0)
    torch.testing.assert_close(rotation.matrix_from_6d(rotation.sixd_from_matrix(matrices[:, None]))[:, 0], matrices)


def test_the_mirror_of_the_mirror_is_the_pose():
    pose = rotation.matrix_from_axis_angle(0.7 * torch.randn(4, 24, 3))
    torch.testing.assert_close(views.mirror(views.mirror(pose)), pose, atol=1e-4, rtol=0)


def test_body_at_rest_is_the_template_and_the_root_turns_about_the_pelvis():
    body = reference.seeded_body()
    torch_body = BodyTorch(body)  # type: ignore[arg-type]
    still = torch.eye(3).expand(1, 24, 3, 3)
    joints, markers = torch_body(still, torch.zeros(1, 10))
    np.testing.assert_allclose(joints[0], body.joint_template, atol=1e-5)
    np.testing.assert_allclose(markers[0], body.template[body.markers], atol=1e-5)
    turned = still.clone()
    turned[:, 0] = rotation.matrix_from_axis_angle(torch.tensor([0.3, 1.0, -0.2]))
    moved, _ = torch_body(turned, torch.zeros(1, 10))
    np.testing.assert_allclose(moved[:, 0], joints[:, 0], atol=1e-6)
    np.testing.assert_allclose((moved - moved[:, :1])[0], (joints - joints[:, :1])[0] @ turned[0, 0].T, atol=1e-5)


def test_standing_mean_is_upright_with_hanging_arms(edge):
    joints, _ = edge.body(rotation.matrix_from_6d(start.standing_mean().pose6d), torch.zeros(1, 10))
    assert joints[0, 15, 1] < joints[0, 0, 1] < joints[0, 10, 1]  # head, pelvis, foot: y is down
    assert (joints[0, [20, 21], 1] > joints[0, [16, 17], 1] + 0.2).all()  # wrists hang lower than shoulders


@torch.no_grad()
def test_a_warm_start_of_weight_zero_is_cold_and_one_of_weight_one_ignores_the_fresh_estimate(edge):
    images, view = torch.rand(2, 3, 256, 256), a_view(2)
    encoded = edge.encode(images)
    cold = edge(encoded, view)
    other = edge(edge.encode(torch.rand(2, 3, 256, 256)), view)[-1]
    unmoved = edge(encoded, view, start=other, start_weight=torch.zeros(2))
    torch.testing.assert_close(unmoved[1].rotations, cold[1].rotations)
    warm = edge(encoded, view, 1, start=other)[-1]
    begin = edge.place(other.state._replace(pose6d=start.orthonormal(other.pose6d)), view)
    (again,) = edge.steps(encoded, view, begin, 1)
    torch.testing.assert_close(warm.rotations, again.rotations)


def test_gradients_reach_every_part_and_stop_at_the_start(edge):
    edge.train()
    torch.nn.init.normal_(edge.feedback.keypoints.last.weight, std=0.01)
    view = a_view(2)
    begin = edge(torch.rand(2, 3, 256, 256), view, 1)[-1]
    begin = begin.state.detach()._replace(pose6d=begin.pose6d.detach().requires_grad_())
    estimates = edge(torch.rand(2, 3, 256, 256), view, 3, start=begin)
    torch.stack([e.markers_px.mean() + e.betas.mean() + e.log_error.mean() for e in estimates]).sum().backward()
    assert begin.pose6d.grad is None
    silent = [name for name, p in edge.named_parameters() if p.grad is None or p.grad.abs().max() == 0]
    assert silent == []
    edge.zero_grad()
    edge.eval()


@torch.no_grad()
def test_a_held_shape_stays_held(edge):
    known = torch.randn(2, 10)
    for estimate in edge(torch.rand(2, 3, 256, 256), a_view(2), agree=views.hold_shape(known)):
        torch.testing.assert_close(estimate.betas, known)


@torch.no_grad()
def test_views_agree_on_the_pelvis_where_their_rays_cross(edge):
    turn = rotation.matrix_from_axis_angle(torch.tensor([[np.pi, 0, 0], [np.pi, 0, 0]], dtype=torch.float32))
    turn[1] = rotation.matrix_from_axis_angle(torch.tensor([0, np.pi / 2, 0.0])) @ turn[1]
    camera_from_world = torch.eye(4).repeat(2, 1, 1)
    camera_from_world[:, :3, :3] = turn
    camera_from_world[:, :3, 3] = torch.tensor([0.0, 0.0, 4.0])
    view, pelvis = a_view(2), torch.tensor([0.1, 0.2, 0.3])
    in_camera = (turn @ pelvis[:, None]).squeeze(-1) + camera_from_world[:, :3, 3]
    rest = edge.body.rest_joints(torch.zeros(2, 10))[:, 0]
    wrong_depth = in_camera * torch.tensor([[1.2], [0.9]])  # the direction is right, the distance is 0.4 to 0.8 m off
    pose6d = start.standing_mean().pose6d.expand(2, -1)
    state = start.State(pose6d, torch.zeros(2, 10), camera.cam_from_translation(wrong_depth - rest, view))
    agreed = views.average_place(edge.body, view, camera_from_world)(state)
    found = camera.translation(agreed.cam, view) + rest
    assert (found - in_camera).norm(dim=-1).max() < 0.02  # metres; each view alone is 0.4 to 0.8 m off
