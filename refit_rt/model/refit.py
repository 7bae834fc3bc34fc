"""ReFit in torch: sample the feature maps where the body is, correct the body, repeat.

Wang & Daniilidis, "ReFit: Recurrent Fitting Network for 3D Human Recovery", ICCV 2023. With HRNet-W48 and the official
weights it reproduces the official code's numbers (tests/model/test_refit.py).
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from refit_rt.model.body import BodyTorch
from refit_rt.model.camera import View, box_features, project_to_crop
from refit_rt.model.config import HEADS, ReFitConfig
from refit_rt.model.feedback import Feedback
from refit_rt.model.hrnet import BackboneOutput, HRNet, conv_bn_relu
from refit_rt.model.rotation import matrix_from_6d
from refit_rt.model.start import blend, standing_mean
from refit_rt.model.update import Confidence, Regressor, State, Update

if TYPE_CHECKING:
    from refit_rt.body.smpl import Body


class Encoded(NamedTuple):
    """The encoder's output for a batch of crops: all that the loop needs of the images."""

    maps: Tensor  # (B, M, 64, 64) one feature map per marker
    hidden: Tensor  # (B, 26, H) first hidden states, used for the first estimate only
    keypoints: Tensor | None  # (B, 33, 4)


class Estimate(NamedTuple):
    """A body after some iterations, in metres and without the translation of camera.py."""

    pose6d: Tensor  # (B, 144)
    betas: Tensor  # (B, 10)
    cam: Tensor  # (B, 3)
    rotations: Tensor  # (B, 24, 3, 3) relative to the parent joint
    joints: Tensor  # (B, 24, 3)
    markers: Tensor  # (B, M, 3)
    markers_px: Tensor  # (B, M, 2) crop pixels
    joints_px: Tensor  # (B, 24, 2) crop pixels
    log_error: Tensor | None = None  # (B,) log of the expected error in pixels, if the network has the head

    @property
    def state(self) -> State:
        return State(self.pose6d, self.betas, self.cam)


Agree = Callable[[State], State]  # a constraint applied after every step: views that agree, a shape that is known


class ReFit(nn.Module):
    """Crops and their positions in the image → estimates: the first one, then one per iteration."""

    mean_pose6d: Tensor
    mean_betas: Tensor
    mean_cam: Tensor

    def __init__(self, config: ReFitConfig, body: BodyTorch, backbone: nn.Module) -> None:
        """backbone: images (B, 3, S, S) normalised → BackboneOutput, with `feature_channels` and `summary_size`."""
        super().__init__()
        self.config, self.body, self.backbone = config, body, backbone
        channels, summary = int(backbone.feature_channels), int(backbone.summary_size)  # type: ignore[arg-type]
        self.map_head: nn.Module = map_head(config, channels)
        self.init_head: nn.Module = init_head(config, summary)
        self.feedback = Feedback(config)
        self.update = Update(config)
        self.regressor = Regressor(config.hidden)
        self.confidence = Confidence(config.hidden) if config.confidence else None
        self.presence = nn.Linear(HEADS * config.hidden, 1) if config.presence else None
        for name, mean in standing_mean()._asdict().items():
            self.register_buffer(f"mean_{name}", mean)
        for name, numbers in (("rgb_mean", config.rgb_mean), ("rgb_spread", config.rgb_spread)):
            self.register_buffer(name, torch.tensor(numbers).view(3, 1, 1), persistent=False)

    def encode(self, images: Tensor) -> Encoded:
        """images: (B, 3, S, S) RGB 0..1."""
        normal = (images - self.get_buffer("rgb_mean")) / self.get_buffer("rgb_spread")
        return self.encode_features(self.backbone(normal))

    def encode_features(self, seen: BackboneOutput) -> Encoded:
        """The part after the backbone, for training that modifies the backbone's output."""
        hidden = torch.tanh(self.init_head(seen.summary)).unflatten(1, (HEADS, -1))
        return Encoded(self.map_head(seen.features), hidden, seen.keypoints)

    def forward(
        self,
        images: Tensor | BackboneOutput | Encoded,
        view: View,
        iterations: int | None = None,
        start: State | Estimate | None = None,
        start_weight: Tensor | None = None,
        agree: Agree | None = None,
    ) -> list[Estimate]:
        """Estimates for one batch: the fresh one, then one per iteration; the last one is the result.

        start: the last frame's body in this crop's camera. start_weight (B,): its weight in the state from which the
        loop starts, 1 by default; the rest is the fresh estimate's. agree: changes the state after every step.
        """
        match images:
            case Encoded():
                encoded = images
            case BackboneOutput():
                encoded = self.encode_features(images)
            case _:
                encoded = self.encode(images)
        fresh = self.first(encoded, view, agree)
        begin = fresh
        if start is not None:
            weight = torch.ones(len(view.square), device=view.square.device) if start_weight is None else start_weight
            begin = self.place(blend(fresh.state, State(start.pose6d, start.betas, start.cam), weight), view)
        count = self.config.iterations if iterations is None else iterations
        return [fresh, *self.steps(encoded, view, begin, count, agree)]

    def first(self, encoded: Encoded, view: View, agree: Agree | None = None) -> Estimate:
        """The estimate that precedes any feedback: the mean body, corrected from the first hidden states."""
        box = box_features(view)
        mean = State(self.mean_pose6d, self.mean_betas, self.mean_cam)
        state = mean.plus(self.regressor(encoded.hidden, box), self.config.scale_floor)
        return self.place(agree(state) if agree else state, view, self.judge(encoded.hidden, box))

    def steps(
        self, encoded: Encoded, view: View, now: Estimate, iterations: int, agree: Agree | None = None
    ) -> Iterator[Estimate]:
        """The loop. Each iteration starts from detached numbers: its gradient stops at the body it starts from, and
        reaches earlier iterations only through the hidden states, as in the official code."""
        box = box_features(view)
        mask = self.feedback.marker_mask(encoded.maps)
        # The official code resets the hidden states here, after the first estimate; its weights depend on that.
        hidden = torch.zeros_like(encoded.hidden)
        for _ in range(iterations):
            state = now.state.detach()
            local = self.feedback(
                encoded.maps, encoded.keypoints, now.markers_px.detach(), now.joints_px.detach(), mask
            )
            hidden = self.update(hidden, local, box, state)
            state = state.plus(self.regressor(hidden, box), self.config.scale_floor)
            now = self.place(agree(state) if agree else state, view, self.judge(hidden, box))
            yield now

    def place(self, state: State, view: View, log_error: Tensor | None = None) -> Estimate:
        """The body of a state, and its projection into the crop."""
        rotations = matrix_from_6d(state.pose6d)
        joints, markers = self.body(rotations, state.betas)
        markers_px, joints_px = (
            project_to_crop(points, state.cam, view, self.config.crop_px) for points in (markers, joints)
        )
        return Estimate(*state, rotations, joints, markers, markers_px, joints_px, log_error)

    def judge(self, hidden: Tensor, box: Tensor) -> Tensor | None:
        return None if self.confidence is None else self.confidence(hidden, box)

    def present(self, encoded: Encoded) -> Tensor | None:
        """(B,) 0..1: whether each crop shows a person in its middle, from the first hidden states."""
        return None if self.presence is None else torch.sigmoid(self.presence(encoded.hidden.flatten(1))).squeeze(-1)


def map_head(config: ReFitConfig, channels: int) -> nn.Sequential:
    """Features → one map per marker. The official 3x3 head takes 85 ms on two cores, the light 1x1 head 1 ms."""
    if config.light_heads:
        return nn.Sequential(
            nn.Conv2d(channels, config.map_hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(config.map_hidden, config.marker_count, 1),
        )
    return nn.Sequential(
        *conv_bn_relu(channels, 256), *conv_bn_relu(256, 256), nn.Conv2d(256, config.marker_count, 1, bias=False)
    )


def init_head(config: ReFitConfig, summary: int) -> nn.Module:
    """The global vector → first hidden states, before tanh."""
    if config.light_heads:
        return nn.Sequential(
            nn.Linear(summary, config.init_hidden), nn.ReLU(), nn.Linear(config.init_hidden, HEADS * config.hidden)
        )
    return nn.Linear(summary, HEADS * config.hidden)


def build(config: ReFitConfig, body: "Body", backbone: nn.Module | None = None) -> ReFit:
    """A network with random weights for this body. backbone: used in place of the one that config names."""
    if backbone is None:
        backbone = make_backbone(config)
    return ReFit(config, BodyTorch(body), backbone)


def make_backbone(config: ReFitConfig) -> nn.Module:
    match config.backbone:
        case "hrnet_w48":
            return HRNet(48)
        case "hrnet_w32":
            return HRNet(32)
        case "blazepose" | "blazepose_heavy":
            from refit_rt.model.blazepose import FULL, HEAVY, BlazePose

            return BlazePose(HEAVY if config.backbone == "blazepose_heavy" else FULL)
