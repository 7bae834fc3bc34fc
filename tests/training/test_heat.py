"""The map's second task: heat and depth are predicted where joints and markers lie."""

import pytest

torch = pytest.importorskip("torch", reason="training is done in torch: pip install refit-rt[train]")

from torch import Tensor  # noqa: E402

from training import heat  # noqa: E402
from training.heat import Heat  # noqa: E402
from training.losses import Truth  # noqa: E402

POINTS, SIDE = 6, 64
PLACES = torch.tensor([[40.0, 60.0], [200.0, 30.0], [128.0, 128.0], [9.0, 250.0], [77.7, 180.2], [230.0, 100.0]])


def truth_at(places: Tensor, depth: Tensor | None = None) -> Truth:
    """Two joints and four markers at places (6, 2) px of one crop, with depth (6,) metres behind the first joint."""
    points = torch.zeros(1, POINTS, 3)
    if depth is not None:
        points[0, :, 2] = depth
    none = torch.zeros(1, 0)
    return Truth(none, none, none, points[:, :2], points[:, 2:], places[None, :2], places[None, 2:])


def bumps(places: Tensor) -> Tensor:
    """Maps (1, 6, 64, 64), one per point: 1 at the point, falling towards zero over 6 px."""
    centres = 4 * torch.arange(SIDE) + 1.5
    off_x, off_y = (centres - places[:, :1], centres - places[:, 1:])
    return torch.exp(-(off_y[:, :, None] ** 2 + off_x[:, None] ** 2) / (2 * heat.SPREAD_PX**2))[None]


def channels_as_heat() -> Heat:
    """A task that takes channel i of the map as the heat of point i."""
    one = Heat(POINTS, POINTS)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.zero_()
        for i in range(POINTS):
            one.shared.weight[i, i] = 1
            one.heat.weight[i, i] = 12
    return one


def test_heat_at_the_points_costs_less_than_heat_beside_them():
    there = float(channels_as_heat()(bumps(PLACES), truth_at(PLACES)).detach())
    for shift in ((8.0, 0.0), (0.0, 8.0), (-8.0, 0.0)):
        beside = float(channels_as_heat()(bumps(PLACES + torch.tensor(shift)), truth_at(PLACES)).detach())
        assert beside > there + 0.3
    nothing = float(channels_as_heat()(torch.zeros(1, POINTS, SIDE, SIDE), truth_at(PLACES)).detach())
    assert abs(nothing - torch.tensor(float(SIDE**2)).log()) < 1e-3  # without heat all cells are equally likely
    assert there < nothing - 2


def test_depth_is_read_where_the_point_lies():
    one = Heat(1, POINTS)
    with torch.no_grad():
        for parameter in one.parameters():
            parameter.zero_()
        one.shared.weight[0, 0] = 1
        one.depth.weight[:, 0] = 0.01
    across = (4 * torch.arange(SIDE) + 1.5).expand(1, 1, SIDE, SIDE)  # the map holds each pixel's x
    right = 0.01 * (PLACES[:, 0] - PLACES[0, 0])  # depths are relative to the first joint's
    with torch.no_grad():
        one.depth.bias.fill_(-0.01 * float(PLACES[0, 0]))
    uniform = torch.tensor(float(SIDE**2)).log()
    assert abs(float(one(across, truth_at(PLACES, right)).detach() - uniform)) < 1e-3
    down = 0.01 * (PLACES[:, 1] - PLACES[0, 1])
    assert float(one(across, truth_at(PLACES, down)).detach() - uniform) > 1


def test_points_outside_the_crop_do_not_count():
    outside = PLACES.clone()
    outside[3] = torch.tensor([300.0, -20.0])
    further = outside.clone()
    further[3] = torch.tensor([-500.0, 90.0])
    torch.testing.assert_close(
        channels_as_heat()(bumps(PLACES), truth_at(outside)),
        channels_as_heat()(bumps(PLACES), truth_at(further)),
        rtol=1e-5,
        atol=1e-5,
    )
    alone = channels_as_heat()(bumps(PLACES), truth_at(PLACES + 1000))
    assert float(alone.detach()) == 0


def test_the_map_learns_from_the_second_task():
    torch.manual_seed(0)
    one, features = Heat(POINTS, POINTS), torch.rand(1, POINTS, SIDE, SIDE).requires_grad_()
    before = one(features, truth_at(PLACES))
    before.backward()
    assert features.grad is not None
    with torch.no_grad():
        after = one(features - features.grad / features.grad.norm(), truth_at(PLACES))
    assert after < before
