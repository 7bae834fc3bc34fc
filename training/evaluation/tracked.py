"""Following people of the benchmark: where a moment starts and what it hands on, as the fitter does it live."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from refit_rt.fit import mirror, start
from refit_rt.model.camera import View, cam_from_translation, translation
from refit_rt.model.refit import Encoded, Estimate, ReFit
from refit_rt.model.rotation import sixd_from_matrix
from refit_rt.model.start import blend
from refit_rt.model.update import State
from training.starts import exchanged, turn_camera


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
        self.since_s[who] = start.opposed_since(away, self.since_s[who], crops.time_s)

    def start(
        self, network: ReFit, who: Tensor, crops: Crops, fresh: Estimate, share: float
    ) -> tuple[Estimate, Tensor, Tensor]:
        """Where the loop starts for people `who` (B,): their last body blended with the fresh one; where (B,) the two
        face away from each other, so that the landmarks' left and right must be exchanged; and where (B,) nothing can
        be gone on from, so that live starts cold."""
        rotations, betas, place = self.seen_by(network, who, crops, fresh)
        place = torch.where(self.known[who][:, None], place, place.new_tensor([0.0, 0.0, 1.0]))
        cam = cam_from_translation(place, crops.view)
        chosen = start.choose_start(
            last_root=rotations[:, 0],
            fresh_root=fresh.rotations[:, 0],
            last_scale=cam[:, 0],
            fresh_scale=fresh.cam[:, 0],
            depth_m=place[:, 2],
            time_s=crops.time_s,
            opposed_since_s=self.since_s[who],
            born_s=self.born_s[who],
            share=share,
        )
        fits = self.known[who] & ~chosen.cold
        away = chosen.exchange & fits
        six_d = torch.where(fits[:, None], sixd_from_matrix(rotations), fresh.pose6d)
        state = State(six_d, betas, torch.where(fits[:, None], cam, fresh.cam))
        weight = torch.where(fits, chosen.weight, 0.0)
        return network.place(blend(fresh.state, state, weight), crops.view), away, ~fits

    def seen_by(self, network: ReFit, who: Tensor, crops: Crops, like: Estimate) -> tuple[Tensor, Tensor, Tensor]:
        """The bodies of people `who` (B,) in the camera of these crops: rotations, betas, translation."""
        body = like._replace(rotations=self.rotations[who], betas=self.betas[who])
        rotations, place = turn_camera(body, self.trans[who], self.roll[who] - crops.roll, network)
        return rotations, body.betas, place

    def averaged(self, network: ReFit, who: Tensor, answer: Estimate, crops: Crops, may: Tensor) -> Estimate:
        """mirror.averaged of answers not yet kept, where `may` (B,) bool and two answers are known."""
        assert self.earlier
        now = State(sixd_from_matrix(answer.rotations), answer.betas, translation(answer.cam, crops.view))
        last, earlier = (
            State(sixd_from_matrix(rotations), betas, place)
            for rotations, betas, place in (one.seen_by(network, who, crops, answer) for one in (self, self.earlier))
        )
        gap_s = (crops.time_s - self.earlier.time_s[who]).clamp(min=1e-6)
        on = ((crops.time_s - self.time_s[who]) / gap_s)[:, None]
        six, betas, place = (mirror.carried_mean(*parts, on) for parts in zip(now, last, earlier, strict=True))
        mean = network.place(State(six, betas, cam_from_translation(place, crops.view)), crops.view, answer.log_error)
        return either(may & self.earlier.known[who], mean, answer)


class Pass:
    """One pass of the network over people, mirrored for some: arguments and answers are those of the crops as they are.

    hand (B,) bool: which crops are mirrored; mirrored: what the encoder makes of all mirror images.
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
    x, side = view.square[:, 0], view.square[:, 2]
    there = mirror.mirrored_x(x, side, view.centre_px[:, 0], crop_px)
    return view._replace(square=torch.cat([torch.where(where, there, x)[:, None], view.square[:, 1:]], 1))


def mirrored_state(state: State, crop_px: int, where: Tensor) -> State:
    """refit_rt.fit.mirror.mirrored_state `where` (B,) bool says so."""
    pose6d, cam = mirror.mirrored_pose6d(state.pose6d), mirror.mirrored_cam(state.cam, crop_px)
    where = where[:, None]
    return State(torch.where(where, pose6d, state.pose6d), state.betas, torch.where(where, cam, state.cam))


def confidence(estimate: Estimate, keypoints: Tensor | None) -> Tensor:
    """(B,) 0..1: refit_rt.fit.start.confidence of estimates."""
    error_px = None if estimate.log_error is None else estimate.log_error.exp()
    return start.confidence(error_px, estimate.cam[:, 0], keypoints)


def either(where: Tensor, one: Estimate, other: Estimate) -> Estimate:
    """`one` where (B,) bool, else `other`."""
    parts = []
    for a, b in zip(one, other, strict=True):
        parts.append(None if a is None or b is None else torch.where(where.view(-1, *[1] * (a.dim() - 1)), a, b))
    return Estimate(*parts)


def some(estimate: Estimate, index: Tensor) -> Estimate:
    """Of some people, by (m,) places."""
    return Estimate(*(None if part is None else part[index] for part in estimate))  # type: ignore[arg-type]
