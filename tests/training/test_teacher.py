"""The teacher: a backbone learns the landmarks that the heavy network sees, where that is right."""

from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training is done in torch: pip install refit-rt[train]")

from refit_rt.errors import UserError  # noqa: E402
from training import teacher as module  # noqa: E402
from training.landmark_map import answer_of  # noqa: E402
from training.teacher import Teacher  # noqa: E402

CPU = torch.device("cpu")


def answers(rows: int, seed: int):
    """Raw landmarks (rows, 195), all of them seen, and world landmarks (rows, 117)."""
    noise = torch.Generator().manual_seed(seed)
    points = 128 + 40 * torch.randn(rows, 39, 5, generator=noise)
    points[..., 3:] = 9.0
    return points.flatten(1), 0.4 * torch.randn(rows, 117, generator=noise)


@pytest.fixture
def taught(monkeypatch):
    """What the heavy network sees of three pictures; no network runs."""
    seen = answers(3, 0)
    monkeypatch.setattr(module, "load_own", lambda backbone: None)
    monkeypatch.setattr(module, "Remembered", lambda *_, **__: lambda images: (None, None, *seen))
    return seen


def test_the_loss_is_least_where_the_teacher_sees_the_landmarks(taught) -> None:
    teacher, images = Teacher(CPU, 1, ""), torch.zeros(3, 3, 256, 256)
    same = teacher.loss(images, *taught)
    assert same < 0.001
    for index in (0, 1):  # pixels and depth; metres
        off = [part.clone() for part in taught]
        off[index][:, :3] += 40.0
        assert teacher.loss(images, *off) > same + 0.001
    unseen = taught[0].clone()
    unseen.view(3, 39, 5)[..., 3] = -3.0
    assert teacher.loss(images, unseen, taught[1]) > 0.1


def test_renders_count_on_which_the_teacher_is_right(taught) -> None:
    teacher, images = Teacher(CPU, 1, ""), torch.zeros(3, 3, 256, 256)
    truth = answer_of(taught[0].clone(), taught[1])
    truth.pixels[1] += 40.0  # px
    student, world = (part.clone().requires_grad_() for part in answers(3, 1))
    teacher.loss(images, student, world, truth).backward()
    assert student.grad is not None
    moved = student.grad.abs().sum(1)
    assert moved[1] == 0
    assert (moved[[0, 2]] > 0).all()


def test_people_in_photographs_are_drawn_and_half_of_them_mirrored(taught, tmp_path: Path, monkeypatch) -> None:
    picture = np.zeros((80, 80, 3), np.uint8)
    picture[:, :40] = 255
    cv2.imwrite(str(tmp_path / "one.png"), picture)
    crop = np.zeros((256, 256, 3), np.uint8)
    crop[:, :128] = 255
    monkeypatch.setattr(module, "make_detector", lambda settings: None)
    monkeypatch.setattr(module, "crops_of", lambda pictures, detector, cut: [crop for _ in pictures])
    drawn = Teacher(CPU, 1, str(tmp_path)).photographs(40, np.random.default_rng(0))
    assert drawn.shape == (40, 3, 256, 256)
    left = (drawn[:, 0, :, :128].mean((1, 2)) > 0.5).float().mean()
    assert 0.2 < left < 0.8
    monkeypatch.setattr(module, "crops_of", lambda pictures, detector, cut: [])
    with pytest.raises(UserError, match="nobody is found in its photographs"):
        Teacher(CPU, 1, str(tmp_path))
