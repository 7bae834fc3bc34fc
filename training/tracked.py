"""Following people of the benchmark: where a moment starts and what it hands on, as refit_rt.fit does it live."""

from dataclasses import dataclass

import torch
from torch import Tensor

from refit_rt.fit import CONFIDENT_M, HALF_CROP_PX, HIPS, MOST_SCALE, OPPOSED_S, SHOULDERS
from refit_rt.model.camera import View, cam_from_translation, translation
from refit_rt.model.refit import Encoded, Estimate, ReFit
from refit_rt.model.rotation import sixd_from_matrix
from refit_rt.model.start import blend
from refit_rt.model.update import State
from training.warm import opposed, turn_camera


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """A batch as the network takes it."""

    encoded: Encoded
    view: View
    roll: Tensor  # (B,) radians by which each crop was turned
    time_s: Tensor  # (B,) since the person's first moment

    def part(self, index: Tensor) -> "Crops":
        """Some of them, by (m,) places."""
        encoded = Encoded(*(None if part is None else part[index] for part in self.encoded))  # type: ignore[arg-type]
        return Crops(encoded, View(*(part[index] for part in self.view)), self.roll[index], self.time_s[index])


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """The last answer for each of n people."""

    rotations: Tensor  # (n, 24, 3, 3) camera of the crop it was made in
    betas: Tensor  # (n, 10)
    trans: Tensor  # (n, 3) metres
    roll: Tensor  # (n,) of that crop
    since_s: Tensor  # (n,) since when the fresh estimates see front and back the other way round; inf: they do not
    known: Tensor  # (n,) bool: there is an answer to go on from
    born_s: Tensor  # (n,) when they last began from nothing

    @staticmethod
    def of(count: int) -> "Memory":
        """Of people nobody has seen yet."""
        return Memory(torch.zeros(count, 24, 3, 3), torch.zeros(count, 10), torch.zeros(count, 3), torch.zeros(count),
                      torch.full((count,), torch.inf), torch.zeros(count, dtype=torch.bool),
                      torch.zeros(count))  # fmt: skip

    def to(self, device: torch.device) -> "Memory":
        """The same on a device."""
        return Memory(*(getattr(self, name).to(device) for name in self.__dataclass_fields__))

    def keep(
        self, who: Tensor, answer: Estimate, crops: Crops, known: Tensor, away: Tensor, anew: Tensor | None = None
    ) -> None:
        """Answers of people `who` (B,); known (B,) bool: good enough to go on from; away (B,) bool: facing away from
        the fresh estimate; anew (B,) bool: begun from nothing, as all are that were not known before."""
        fresh = ~self.known[who] if anew is None else anew | ~self.known[who]
        self.born_s[who] = torch.where(fresh, crops.time_s, self.born_s[who])
        self.rotations[who], self.betas[who] = answer.rotations, answer.betas
        self.trans[who], self.roll[who] = translation(answer.cam, crops.view), crops.roll
        self.known[who] = known
        began = torch.minimum(self.since_s[who], crops.time_s)
        self.since_s[who] = torch.where(away, began, torch.inf)

    def start(
        self, network: ReFit, who: Tensor, crops: Crops, fresh: Estimate, share: float
    ) -> tuple[Estimate, Tensor, Tensor]:
        """Where the loop starts for people `who` (B,): their last body blended with the fresh one; where (B,) the two
        face away from each other, so that the landmarks' left and right must be exchanged; and where (B,) nothing can
        be gone on from, so that live starts cold."""
        body = fresh._replace(rotations=self.rotations[who], betas=self.betas[who])
        rotations, place = turn_camera(body, self.trans[who], self.roll[who] - crops.roll, network)
        place = torch.where(self.known[who][:, None], place, place.new_tensor([0.0, 0.0, 1.0]))
        cam = cam_from_translation(place, crops.view)
        scale = cam[:, 0] / fresh.cam[:, 0].clamp(min=1e-3)
        away = opposed(rotations, fresh.rotations)
        fits = self.known[who] & (scale < MOST_SCALE) & (scale > 1 / MOST_SCALE) & (place[:, 2] > 0.1)
        since_s = torch.minimum(self.since_s[who], crops.time_s)
        believed_s = (since_s - self.born_s[who]).clamp(max=OPPOSED_S)
        fits &= ~(away & (crops.time_s - since_s >= believed_s))
        away = away & fits
        six_d = torch.where(fits[:, None], sixd_from_matrix(rotations), fresh.pose6d)
        state = State(six_d, body.betas, torch.where(fits[:, None], cam, fresh.cam))
        weight = torch.where(away, 1.0, torch.where(fits, share, 0.0))
        return network.place(blend(fresh.state, state, weight), crops.view), away, ~fits


def confidence(estimate: Estimate, keypoints: Tensor | None) -> Tensor:
    """(B,) 0..1, as `refit_rt.fit.confidence_of`: from the foretold error and visible shoulders or hips."""
    sure = torch.ones(len(estimate.betas))
    if estimate.log_error is not None:
        error_m = estimate.log_error.exp() / (HALF_CROP_PX * estimate.cam[:, 0].clamp(min=1e-3))
        sure = 1 / (1 + (error_m / CONFIDENT_M) ** 2)
    if keypoints is not None:
        visible = keypoints[..., 3]
        sure = sure * torch.maximum(visible[:, list(SHOULDERS)].mean(1), visible[:, list(HIPS)].mean(1))
    return sure


def either(where: Tensor, one: Estimate, other: Estimate) -> Estimate:
    """`one` where (B,) bool, else `other`."""
    parts = []
    for a, b in zip(one, other, strict=True):
        parts.append(None if a is None or b is None else torch.where(where.view(-1, *[1] * (a.dim() - 1)), a, b))
    return Estimate(*parts)


def some(estimate: Estimate, index: Tensor) -> Estimate:
    """Of some people, by (m,) places."""
    return Estimate(*(None if part is None else part[index] for part in estimate))  # type: ignore[arg-type]
