"""Following people of the benchmark: where a moment starts and what it hands on, as the fitter does it live."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from refit_rt.fit.fitter import CONFIDENT_M, HALF_CROP_PX, HIPS, MOST_SCALE, OPPOSED_S, SHOULDERS
from refit_rt.fit.mirror import SIX_D_SIGNS, SWAP
from refit_rt.model.camera import View, cam_from_translation, translation
from refit_rt.model.refit import Encoded, Estimate, ReFit
from refit_rt.model.rotation import sixd_from_matrix
from refit_rt.model.start import blend
from refit_rt.model.update import State
from training.starts import exchanged, opposed, turn_camera


@dataclass(frozen=True, slots=True, eq=False)
class Crops:
    """A batch as the network takes it."""

    encoded: Encoded
    view: View
    roll: Tensor  # (B,) radians by which each crop was turned
    time_s: Tensor  # (B,) since the person's first moment

    def part(self, index: Tensor) -> "Crops":
        """Some of them, by (m,) places."""
        return Crops(
            part_of(self.encoded, index),
            View(*(part[index] for part in self.view)),
            self.roll[index],
            self.time_s[index],
        )


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
    in_mirror: Tensor  # (n,) bool: that look was at the mirror image
    time_s: Tensor  # (n,)
    earlier: "Memory | None" = None  # the look before that one; `known` where it went on to it

    @staticmethod
    def of(count: int) -> "Memory":
        """Of people nobody has seen yet."""
        return Memory._blank(count, Memory._blank(count, None))

    @staticmethod
    def _blank(count: int, earlier: "Memory | None") -> "Memory":
        def number() -> Tensor:
            return torch.zeros(count)

        def no() -> Tensor:
            return torch.zeros(count, dtype=torch.bool)

        return Memory(torch.zeros(count, 24, 3, 3), torch.zeros(count, 10), torch.zeros(count, 3), number(),
                      torch.full((count,), torch.inf), no(), number(), no(), number(), earlier)  # fmt: skip

    def to(self, device: torch.device) -> "Memory":
        """The same on a device."""
        earlier = self.earlier.to(device) if self.earlier else None
        parts: dict[str, Any] = {name: getattr(self, name).to(device) for name in self.__slots__ if name != "earlier"}
        return Memory(**parts, earlier=earlier)

    def keep(
        self,
        who: Tensor,
        answer: Estimate,
        crops: Crops,
        known: Tensor,
        away: Tensor,
        anew: Tensor | None = None,
        in_mirror: Tensor | None = None,
    ) -> None:
        """Answers of people `who` (B,); known (B,) bool: good enough to go on from; away (B,) bool: facing away from
        the fresh estimate; anew (B,) bool: begun from nothing, as all are that were not known before; in_mirror (B,)
        bool: seen there."""
        fresh = ~self.known[who] if anew is None else anew | ~self.known[who]
        if self.earlier:
            for name in ("rotations", "betas", "trans", "roll", "in_mirror", "time_s"):
                getattr(self.earlier, name)[who] = getattr(self, name)[who]
            self.earlier.known[who] = ~fresh
        self.in_mirror[who] = torch.zeros_like(known) if in_mirror is None else in_mirror
        self.time_s[who] = crops.time_s
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
        rotations, betas, place = self.seen_by(network, who, crops, fresh)
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
        state = State(six_d, betas, torch.where(fits[:, None], cam, fresh.cam))
        weight = torch.where(away, 1.0, torch.where(fits, share, 0.0))
        return network.place(blend(fresh.state, state, weight), crops.view), away, ~fits

    def seen_by(self, network: ReFit, who: Tensor, crops: Crops, like: Estimate) -> tuple[Tensor, Tensor, Tensor]:
        """The bodies of people `who` (B,) in the camera of these crops: rotations, betas, translation."""
        body = like._replace(rotations=self.rotations[who], betas=self.betas[who])
        rotations, place = turn_camera(body, self.trans[who], self.roll[who] - crops.roll, network)
        return rotations, body.betas, place

    def steadied(self, network: ReFit, who: Tensor, answer: Estimate, crops: Crops, may: Tensor) -> Estimate:
        """mirror.steadied of answers not yet kept, where `may` (B,) bool and there are two looks to go by."""
        assert self.earlier
        now = State(sixd_from_matrix(answer.rotations), answer.betas, translation(answer.cam, crops.view))
        last, earlier = (
            State(sixd_from_matrix(rotations), betas, place)
            for rotations, betas, place in (one.seen_by(network, who, crops, answer) for one in (self, self.earlier))
        )
        gap_s = (crops.time_s - self.earlier.time_s[who]).clamp(min=1e-6)
        on = ((crops.time_s - self.time_s[who]) / gap_s)[:, None]
        six, betas, place = (
            (here + there + on * (here - before)) / 2 for here, there, before in zip(now, last, earlier, strict=True)
        )
        told = network.place(State(six, betas, cam_from_translation(place, crops.view)), crops.view, answer.log_error)
        return either(may & self.earlier.known[who], told, answer)


class Look:
    """One look at people, at the mirror image of some: all it takes and answers is of the crops as they are.

    hand (B,) bool: whose mirror image; mirrored: what the encoder makes of those.
    """

    def __init__(self, network: ReFit, crops: Crops, hand: Tensor, mirrored: Encoded) -> None:
        self._network, self._hand, self._side = network, hand, network.config.crop_px
        self._here, self._there = crops.view, mirrored_view(crops.view, self._side, hand)
        parts = [
            None if a is None or b is None else torch.where(hand.view(-1, *[1] * (a.dim() - 1)), b, a)
            for a, b in zip(crops.encoded, mirrored, strict=True)
        ]
        self._encoded = Encoded(*parts)  # type: ignore[arg-type]
        self.keypoints = self._encoded.keypoints

    def fresh(self, cold: Estimate) -> Estimate:
        """The first estimates; cold: those of the crops as they are."""
        if not self._hand.any():
            return cold
        return self._back(self._network.first(self._encoded, self._there))

    def steps(self, start: Estimate, away: Tensor, count: int) -> list[Estimate]:
        """After each update from a start; away (B,) bool: the landmarks' left and right are exchanged."""
        encoded = self._encoded
        if encoded.keypoints is not None:
            encoded = encoded._replace(keypoints=exchanged(encoded.keypoints, away))
        begin = mirrored_state(start.state, self._side, self._hand)
        now = self._network.place(begin, self._there)
        return [self._back(one) for one in self._network.steps(encoded, self._there, now, count)]

    def _back(self, there: Estimate) -> Estimate:
        state = mirrored_state(there.state, self._side, self._hand)
        return self._network.place(state, self._here, there.log_error)


def part_of(encoded: Encoded, index: Tensor) -> Encoded:
    """Some of a batch, by (m,) places."""
    return Encoded(*(None if part is None else part[index] for part in encoded))  # type: ignore[arg-type]


def mirrored_view(view: View, crop_px: int, where: Tensor) -> View:
    """refit_rt.fit.mirror.mirrored_view `where` (B,) bool says so."""
    x = 2 * view.centre_px[:, 0] - view.box[:, 0] + view.box[:, 2] / crop_px
    box = torch.cat([torch.where(where, x, view.box[:, 0])[:, None], view.box[:, 1:]], 1)
    return view._replace(box=box)


def mirrored_state(state: State, crop_px: int, where: Tensor) -> State:
    """refit_rt.fit.mirror.mirrored_state `where` (B,) bool says so."""
    pose = (state.pose6d.unflatten(1, (24, 6)) * torch.from_numpy(SIX_D_SIGNS))[:, torch.from_numpy(SWAP)].flatten(1)
    x = -state.cam[:, 1] - 2 / (crop_px * state.cam[:, 0])
    cam = torch.stack([state.cam[:, 0], torch.where(where, x, state.cam[:, 1]), state.cam[:, 2]], 1)
    return State(torch.where(where[:, None], pose, state.pose6d), state.betas, cam)


def confidence(estimate: Estimate, keypoints: Tensor | None) -> Tensor:
    """(B,) 0..1, as `refit_rt.fit.fitter.confidence_of`: from the foretold error and visible shoulders or hips."""
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
