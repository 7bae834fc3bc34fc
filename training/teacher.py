"""A larger network as the teacher of a backbone that learns: BlazePose's heavy landmarks, on renders and photographs.

The weights that a backbone begins with are held to real people by `hold`; a teacher also says what the backbone should
see in a picture ("distilling the knowledge in a neural network", Hinton et al. 2015). Photographs need no labels.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, smooth_l1_loss

from refit_rt.bundle.quantise import crops_of, photos
from refit_rt.bundle.read import EDGE_CROP
from refit_rt.config import Detect
from refit_rt.detect import make_detector
from refit_rt.errors import UserError
from refit_rt.model.blazepose import HEAVY, BlazePose
from training.checkpoint import load_own
from training.landmark_map import POINTS, Landmarks, answer_of
from training.remembered import Remembered

KEPT = 20000  # crops of which the teacher's landmarks are kept
RIGHT_PX = 12.0  # a render counts where the teacher's landmarks are this near to the truth on average
SEEN_WEIGHT = 0.1  # of the visibility's loss


class Teacher:
    """The heavy network, and photographs of people."""

    def __init__(self, device: torch.device, threads: int, folder: str) -> None:
        """folder: photographs with people; empty: there are none. Raises UserError if nobody is found in them."""
        heavy = BlazePose(HEAVY)
        load_own(heavy)
        self._raw = Remembered(heavy.eval().to(device), KEPT, threads, maps=False)
        self._device, self._crops = device, np.zeros((0, 256, 256, 3), np.uint8)
        if folder:
            found = list(crops_of(photos(Path(folder)), make_detector(Detect()), EDGE_CROP))
            if not found:
                raise UserError(f"{folder}: nobody is found in its photographs. Give photographs of people")
            self._crops = np.stack(found)

    def photographs(self, count: int, rng: np.random.Generator) -> Tensor:
        """Draws crops (count, 3, 256, 256) RGB 0..1 of people in the photographs, half of them mirrored."""
        crops = self._crops[rng.integers(0, len(self._crops), count)]
        turned = rng.random(count) < 0.5
        crops[turned] = crops[turned][:, :, ::-1]
        return torch.from_numpy(crops).to(self._device).permute(0, 3, 1, 2).float() / 255

    def loss(self, images: Tensor, landmarks: Tensor, world: Tensor, truth: Landmarks | None = None) -> Tensor:
        """Compares raw landmarks (B, 195) and world landmarks (B, 117) for images (B, 3, 256, 256) with the teacher's.

        Each landmark counts as much as the teacher sees it. truth: the landmarks of renders, of which those count on
        which the teacher is right; None: all rows count.
        """
        _, _, theirs, their_world = self._raw(images)
        wanted, mine = answer_of(theirs, their_world), answer_of(landmarks, world)
        sure = torch.sigmoid(theirs.view(-1, POINTS, 5)[..., 3])
        share = sure
        if truth is not None:
            off = (wanted.pixels - truth.pixels).norm(dim=-1)
            right = (off * sure).sum(1) / sure.sum(1).clamp(min=1) < RIGHT_PX
            share = sure * right[:, None]
        pixels = smooth_l1_loss(mine.pixels / 128, wanted.pixels / 128, beta=0.05, reduction="none").mean(-1)
        depth = smooth_l1_loss(mine.depth / 128, wanted.depth / 128, beta=0.1, reduction="none")
        metres = smooth_l1_loss(mine.metres, wanted.metres, beta=0.05, reduction="none").mean(-1)
        seen = binary_cross_entropy_with_logits(landmarks.view(-1, POINTS, 5)[..., 3], sure, reduction="none")
        rows = (share > 0).any(1).float()
        return ((pixels + 0.3 * depth + metres) * share).mean() + SEEN_WEIGHT * (seen * rows[:, None]).mean()
