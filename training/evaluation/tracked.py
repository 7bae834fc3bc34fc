"""Following people in evaluations: where each moment starts and what the next one receives, as in the live fitter."""

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
    """A batch of crops in the form that the network takes."""

    encoded: Encoded
    view: View
    roll: Tensor  # (B,) radians by which each crop is turned
    time_s: Tensor  # (B,) since the person's first moment

    def part(self, index: Tensor) -> "Crops":
        """The crops of an index (m,)."""
        return Crops(
            part_of(self.encoded, index),
            View(*(part[index] for part in self.view)),
            self.roll[index],
            self.time_s[index],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """The last result for each of n people."""

    rotations: Tensor  # (n, 24, 3, 3) in the camera of that crop
    betas: Tensor  # (n, 10)
    trans: Tensor  # (n, 3) metres
    roll: Tensor  # (n,) radians of that crop
    since_s: Tensor  # (n,) since when the first estimates have front and back exchanged; inf: they agree with the body
    known: Tensor  # (n,) bool: the next moment can start from it
    born_s: Tensor  # (n,) time of the last cold start
    in_mirror: Tensor  # (n,) bool: that crop was mirrored
    time_s: Tensor  # (n,)
    earlier: "Memory | None" = None  # the results before those; `known` where the last result started from one

    @staticmethod
    def of(count: int) -> "Memory":
        """The memory of people without any result."""
        return Memory._blank(count, Memory._blank(count, None))

    @staticmethod
    def _blank(count: int, earlier: "Memory | None") -> "Memory":
        def number() -> Tensor:
            return torch.zeros(count)

        def no() -> Tensor:
            return torch.zeros(count, dtype=torch.bool)

        return Memory(
            rotations=torch.zeros(count, 24, 3, 3),
            betas=torch.zeros(count, 10),
            trans=torch.zeros(count, 3),
            roll=number(),
            since_s=torch.full((count,), torch.inf),
            known=no(),
            born_s=number(),
            in_mirror=no(),
            time_s=number(),
            earlier=earlier,
        )

    def to(self, device: torch.device) -> "Memory":
        """A copy on a device."""
        earlier = self.earlier.to(device) if self.earlier else None
        parts: dict[str, Any] = {name: getattr(self, name).to(device) for name in self.__slots__ if name != "earlier"}
        return Memory(**parts, earlier=earlier)

    def keep(
        self,
        people: Tensor,
        answer: Estimate,
        crops: Crops,
        known: Tensor,
        opposed: Tensor,
        cold: Tensor | None = None,
        in_mirror: Tensor | None = None,
    ) -> None:
        """Keeps the results of people (B,).

        known (B,) bool: good enough to start the next moment from. opposed (B,) bool: facing away from the first
        estimate. cold (B,) bool: started cold, as all people do who were not known. in_mirror (B,) bool: fitted in the
        mirrored crop.
        """
        cold = ~self.known[people] if cold is None else cold | ~self.known[people]
        if self.earlier:
            for name in ("rotations", "betas", "trans", "roll", "in_mirror", "time_s"):
                getattr(self.earlier, name)[people] = getattr(self, name)[people]
            self.earlier.known[people] = ~cold
        self.in_mirror[people] = torch.zeros_like(known) if in_mirror is None else in_mirror
        self.time_s[people] = crops.time_s
        self.born_s[people] = torch.where(cold, crops.time_s, self.born_s[people])
        self.rotations[people], self.betas[people] = answer.rotations, answer.betas
        self.trans[people], self.roll[people] = translation(answer.cam, crops.view), crops.roll
        self.known[people] = known
        self.since_s[people] = start.opposed_since(opposed, self.since_s[people], crops.time_s)

    def start(
        self, network: ReFit, people: Tensor, crops: Crops, fresh: Estimate, share: float
    ) -> tuple[Estimate, Tensor, Tensor]:
        """Blends the last bodies of people (B,) with the first estimates into starts of the loop.

        Also returns where (B,) the two face away from each other, so that left and right of the landmarks must be
        exchanged, and where (B,) no start is possible, so that the live fitter starts cold.
        """
        rotations, betas, place = self.seen_by(network, people, crops, fresh)
        place = torch.where(self.known[people][:, None], place, place.new_tensor([0.0, 0.0, 1.0]))
        cam = cam_from_translation(place, crops.view)
        chosen = start.choose_start(
            last_root=rotations[:, 0],
            fresh_root=fresh.rotations[:, 0],
            last_scale=cam[:, 0],
            fresh_scale=fresh.cam[:, 0],
            depth_m=place[:, 2],
            time_s=crops.time_s,
            opposed_since_s=self.since_s[people],
            born_s=self.born_s[people],
            share=share,
        )
        fits = self.known[people] & ~chosen.cold
        exchange = chosen.exchange & fits
        six_d = torch.where(fits[:, None], sixd_from_matrix(rotations), fresh.pose6d)
        state = State(six_d, betas, torch.where(fits[:, None], cam, fresh.cam))
        weight = torch.where(fits, chosen.weight, 0.0)
        return network.place(blend(fresh.state, state, weight), crops.view), exchange, ~fits

    def seen_by(self, network: ReFit, people: Tensor, crops: Crops, like: Estimate) -> tuple[Tensor, Tensor, Tensor]:
        """The bodies of people (B,) in the camera of these crops: rotations, betas, translation."""
        body = like._replace(rotations=self.rotations[people], betas=self.betas[people])
        rotations, place = turn_camera(body, self.trans[people], self.roll[people] - crops.roll, network)
        return rotations, body.betas, place

    def averaged(self, network: ReFit, people: Tensor, answer: Estimate, crops: Crops, where: Tensor) -> Estimate:
        """Applies mirror.averaged to new results, `where` (B,) is true and two earlier results are known."""
        assert self.earlier
        now = State(sixd_from_matrix(answer.rotations), answer.betas, translation(answer.cam, crops.view))
        last, earlier = (
            State(sixd_from_matrix(rotations), betas, place)
            for rotations, betas, place in (one.seen_by(network, people, crops, answer) for one in (self, self.earlier))
        )
        gap_s = (crops.time_s - self.earlier.time_s[people]).clamp(min=1e-6)
        on = ((crops.time_s - self.time_s[people]) / gap_s)[:, None]
        six, betas, place = (mirror.carried_mean(*parts, on) for parts in zip(now, last, earlier, strict=True))
        mean = network.place(State(six, betas, cam_from_translation(place, crops.view)), crops.view, answer.log_error)
        return either(where & self.earlier.known[people], mean, answer)


class Pass:
    """One pass of the network, which fits some crops mirrored. Arguments and results are those of the unmirrored crops.

    in_mirror (B,) bool: which crops are fitted mirrored. mirrored: the encoder's output for all mirrored crops.
    """

    def __init__(self, network: ReFit, crops: Crops, in_mirror: Tensor, mirrored: Encoded) -> None:
        self._network, self._in_mirror, self._side = network, in_mirror, network.config.crop_px
        self._here, self._there = crops.view, mirrored_view(crops.view, self._side, in_mirror)
        parts = [
            None if a is None or b is None else torch.where(in_mirror.view(-1, *[1] * (a.dim() - 1)), b, a)
            for a, b in zip(crops.encoded, mirrored, strict=True)
        ]
        self._encoded = Encoded(*parts)  # type: ignore[arg-type]
        self.presence = network.present(self._encoded)

    def fresh(self, cold: Estimate) -> Estimate:
        """The first estimates; cold: those of the unmirrored crops."""
        if not self._in_mirror.any():
            return cold
        return self._back(self._network.first(self._encoded, self._there))

    def steps(self, start: Estimate, exchange: Tensor, count: int) -> list[Estimate]:
        """The estimates after each of `count` updates from a start. exchange (B,) bool: where left and right of the
        landmarks are exchanged."""
        encoded = self._encoded
        if encoded.keypoints is not None:
            encoded = encoded._replace(keypoints=exchanged(encoded.keypoints, exchange))
        begin = mirrored_state(start.state, self._side, self._in_mirror)
        now = self._network.place(begin, self._there)
        return [self._back(one) for one in self._network.steps(encoded, self._there, now, count)]

    def _back(self, there: Estimate) -> Estimate:
        state = mirrored_state(there.state, self._side, self._in_mirror)
        return self._network.place(state, self._here, there.log_error)


def part_of(encoded: Encoded, index: Tensor) -> Encoded:
    """The rows of an index (m,)."""
    return Encoded(*(None if part is None else part[index] for part in encoded))  # type: ignore[arg-type]


def mirrored_view(view: View, crop_px: int, where: Tensor) -> View:
    """Applies refit_rt.fit.mirror.mirrored_view `where` (B,) is true."""
    x, side = view.square[:, 0], view.square[:, 2]
    there = mirror.mirrored_x(x, side, view.centre_px[:, 0], crop_px)
    return view._replace(square=torch.cat([torch.where(where, there, x)[:, None], view.square[:, 1:]], 1))


def mirrored_state(state: State, crop_px: int, where: Tensor) -> State:
    """Applies refit_rt.fit.mirror.mirrored_state `where` (B,) is true."""
    pose6d, cam = mirror.mirrored_pose6d(state.pose6d), mirror.mirrored_cam(state.cam, crop_px)
    where = where[:, None]
    return State(torch.where(where, pose6d, state.pose6d), state.betas, torch.where(where, cam, state.cam))


def confidence(estimate: Estimate, presence: Tensor | None) -> Tensor:
    """The confidences (B,) 0..1 of estimates, by refit_rt.fit.start.confidence. presence (B,): of the network."""
    error_px = None if estimate.log_error is None else estimate.log_error.exp()
    return start.confidence(error_px, estimate.cam[:, 0], presence)


def either(where: Tensor, one: Estimate, other: Estimate) -> Estimate:
    """Takes the rows of `one` `where` (B,) is true, else those of `other`."""
    parts = []
    for a, b in zip(one, other, strict=True):
        parts.append(None if a is None or b is None else torch.where(where.view(-1, *[1] * (a.dim() - 1)), a, b))
    return Estimate(*parts)


def some(estimate: Estimate, index: Tensor) -> Estimate:
    """The rows of an index (m,)."""
    return Estimate(*(None if part is None else part[index] for part in estimate))  # type: ignore[arg-type]
