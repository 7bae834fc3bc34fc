"""BlazePose's full and heavy landmark networks, rebuilt in torch, with weights read from the .tflite.

The architectures are those of `pose_landmark_full.tflite` in the mediapipe 0.10.21 wheel and of
`pose_landmark_heavy.tflite` in the npm package @mediapipe/pose 0.5.1675469404 (both Apache-2.0): a MobileNetV2-style
trunk, a decoder whose 48-channel stride-4 map feeds the heat maps, and a 2x2 summary that feeds the landmarks
(Bazarevsky et al. 2020, Grishchenko et al. 2022). Full, the edge backbone, summarises the trunk's last output; heavy
first descends from the map again. Both are fully convolutional, use ReLU6 throughout and have their batch-norms folded
into the convolutions. The segmentation branch is left out.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from refit_rt.errors import UserError
from refit_rt.model.config import KEYPOINTS
from refit_rt.model.hrnet import BackboneOutput

ORIGINS = {
    "full": "Take the file from mediapipe 0.10.21",
    "heavy": "Take the file from the npm package @mediapipe/pose 0.5.1675469404",
}
LANDMARK_VALUES = 195  # 39 landmarks x (x px, y px, z px, visibility logit, presence logit)
WORLD_VALUES = 117  # 39 landmarks x (x, y, z) metres, hips at the origin
# Half of the summary is constant. Divided by its tiny deviation, it would disturb the heads once the backbone learns.
LEAST_DEVIATION = 0.05
FEATURES, SUMMARY = 48, 288  # channels of the decoder's map and of the summary
MASKED = 11  # convolutions of the segmentation branch beside the decoder


@dataclass(frozen=True)
class Plan:
    """The sizes in which the landmark networks differ."""

    name: str
    stem: int
    """Channels of the stem."""
    trunk: tuple[tuple[int, int, int, int], ...]
    """Of each residual block: expanded channels, output channels, kernel, stride. The first one follows the stem."""
    laterals: dict[int, int]
    """Block whose output joins the decoder → its channels."""
    summary: tuple[int, int]
    """Residual blocks at 4x4 and at 2x2 cells."""
    descent: dict[int, tuple[int, int]] = field(default_factory=dict)
    """The way from the map down to the summary, stage by stage: the block whose output joins the stage's end → the
    stage's channels and its residual blocks. The trunk's last output joins the last stage. Empty: there is no such
    way."""


FULL = Plan(
    name="full",
    stem=16,
    trunk=(
        (64, 24, 3, 2), (144, 24, 3, 1),
        (144, 32, 5, 2), (192, 32, 5, 1),
        (192, 64, 3, 2), (384, 64, 3, 1), (384, 64, 3, 1), (384, 88, 5, 1), (528, 88, 5, 1), (528, 88, 5, 1),
        (528, 144, 5, 2), (864, 144, 5, 1), (864, 144, 5, 1), (864, 144, 5, 1),
    ),
    laterals={1: 24, 3: 32, 9: 88},
    summary=(5, 6),
)  # fmt: skip
HEAVY = Plan(
    name="heavy",
    stem=24,
    trunk=(
        (96, 32, 3, 2), (128, 32, 3, 1), (192, 32, 3, 1), (192, 32, 3, 1),
        (192, 56, 5, 2), *[(336, 56, 5, 1)] * 3,
        (336, 112, 3, 2), *[(672, 112, 3, 1)] * 5, (672, 160, 5, 1), *[(960, 160, 5, 1)] * 5,
        (960, 272, 5, 2), *[(1632, 272, 5, 1)] * 7,
    ),
    laterals={3: 32, 7: 56, 19: 160},
    summary=(8, 8),
    descent={7: (96, 7), 19: (192, 8), 27: (288, 8)},
)  # fmt: skip


class Conv(nn.Sequential):
    """A convolution with bias, with or without ReLU6; `groups=channels` makes it depthwise."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, act: bool = True, depthwise: bool = False
    ):
        padding = kernel // 2
        layers: list[nn.Module] = [
            nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=inputs if depthwise else 1)
        ]
        super().__init__(*layers, *([nn.ReLU6()] if act else []))


class Inverted(nn.Module):
    """MobileNetV2's inverted residual: expand, depthwise, project, and a skip connection where shapes allow."""

    def __init__(self, inputs: int, expanded: int, outputs: int, kernel: int, stride: int):
        super().__init__()
        self.expand = Conv(inputs, expanded)
        self.depth = Conv(expanded, expanded, kernel, stride, depthwise=True)
        self.project = Conv(expanded, outputs, act=False)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depth(self.expand(x)))
        return x + y if self.residual else y


class Residual(nn.Module):
    """A depthwise and a pointwise convolution, added to the input, then ReLU6. At stride 2 the input is max-pooled;
    where there are more outputs than inputs, it is zero in the others."""

    def __init__(self, inputs: int, outputs: int, stride: int):
        super().__init__()
        self.stride, self.added = stride, outputs - inputs
        # TensorFlow's SAME padding of an even input at stride 2 adds one row and one column, at the end.
        self.depth = nn.Conv2d(inputs, inputs, 3, stride, padding=1 if stride == 1 else 0, groups=inputs)
        self.point = nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        padded = functional.pad(x, (0, 1, 0, 1)) if self.stride == 2 else x
        y = self.point(functional.relu6(self.depth(padded)))
        skip = functional.max_pool2d(x, 2) if self.stride == 2 else x
        if self.added:
            skip = functional.pad(skip, (0, 0, 0, 0, 0, self.added))
        return functional.relu6(skip + y)


def halved(inputs: int, outputs: int, count: int) -> nn.Sequential:
    """`count` residual blocks, the first of which halves the sides and changes the channels."""
    return nn.Sequential(Residual(inputs, outputs, 2), *[Residual(outputs, outputs, 1) for _ in range(count - 1)])


def separable(inputs: int, outputs: int) -> nn.Sequential:
    """A depthwise 3x3 and a pointwise convolution, each with ReLU6."""
    return nn.Sequential(Conv(inputs, inputs, 3, depthwise=True), Conv(inputs, outputs))


class BlazePose(nn.Module):
    """(B, 3, 256, 256) RGB 0..1 → `BackboneOutput`: the whitened 48-channel map at stride 4, the whitened summary and
    33 landmarks."""

    feature_channels = FEATURES
    summary_size = LANDMARK_VALUES + WORLD_VALUES + SUMMARY * 4
    feature_mean: Tensor  # (48,)
    feature_white: Tensor  # (48, 48)
    summary_mean: Tensor  # (summary_size,)
    summary_deviation: Tensor  # (summary_size,)

    def __init__(self, plan: Plan = FULL) -> None:
        super().__init__()
        self.plan = plan
        self.stem = nn.Sequential(Conv(3, 24, 3, 2), Conv(24, 24, 3, depthwise=True), Conv(24, plan.stem, act=False))
        channels, blocks = plan.stem, []
        for expanded, outputs, kernel, stride in plan.trunk:
            blocks.append(Inverted(channels, expanded, outputs, kernel, stride))
            channels = outputs
        self.trunk = nn.ModuleList(blocks)
        deep = plan.trunk[-1][0]
        self.neck = nn.Sequential(Conv(channels, deep), Conv(deep, deep, 3, depthwise=True))
        self.coarse = separable(deep, FEATURES)
        self.laterals = nn.ModuleDict(
            {str(block): separable(width, FEATURES) for block, width in plan.laterals.items()}
        )
        self.descent, self.joins, channels = nn.ModuleList(), nn.ModuleDict(), FEATURES
        for block, (outputs, count) in plan.descent.items():
            self.descent.append(halved(channels, outputs, count))
            if block in plan.laterals:
                self.joins[str(block)] = separable(plan.laterals[block], outputs)
            channels = outputs
        self.squeeze = separable(deep, SUMMARY)
        self.summary = nn.Sequential(*[part for count in plan.summary for part in halved(SUMMARY, SUMMARY, count)])
        self.world = nn.Conv2d(SUMMARY, WORLD_VALUES, 2)
        self.landmarks = nn.Conv2d(SUMMARY, LANDMARK_VALUES, 2)
        self.whitening_folded = False
        # `set_statistics` sets the whitening from data: raw channels are badly conditioned (mean 10.9, deviation 2.1).
        self.register_buffer("feature_mean", torch.zeros(FEATURES))
        self.register_buffer("feature_white", torch.eye(FEATURES))
        self.register_buffer("summary_mean", torch.zeros(self.summary_size))
        self.register_buffer("summary_deviation", torch.ones(self.summary_size))

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The outputs of the original: map (B, 48, 64, 64), summary (B, 288, 2, 2), landmarks (B, 195), world landmarks
        (B, 117)."""
        features, summary = self.pyramid(images)
        return features, summary, self.landmarks(summary).flatten(1), self.world(summary).flatten(1)

    def pyramid(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The map (B, 48, 64, 64) and the summary (B, 288, 2, 2)."""
        x = self.stem(images)
        joined = {}
        for index, block in enumerate(self.trunk):
            x = block(x)
            if index in self.plan.laterals:
                joined[index] = x
        x = self.neck(x)
        features = self.coarse(x)
        for index in sorted(self.plan.laterals, reverse=True):
            enlarged = functional.interpolate(features, scale_factor=2, mode="bilinear")
            features = enlarged + self.laterals[str(index)](joined[index])
        squeezed = self.squeeze(x)
        if self.plan.descent:
            squeezed = squeezed + self.descend(features, joined)
        return features, self.summary(squeezed)

    def descend(self, features: Tensor, joined: dict[int, Tensor]) -> Tensor:
        """The map → (B, 288, 8, 8). joined: the outputs of trunk blocks by their numbers."""
        x = features
        for stage, block in zip(self.descent, self.plan.descent, strict=True):
            x = stage(x)
            if block in joined:
                x = x + self.joins[str(block)](joined[block])
        return x

    def forward(self, images: Tensor) -> BackboneOutput:
        return self.see(*self.raw(images))

    def see(self, features: Tensor, summary: Tensor, landmarks: Tensor, world: Tensor) -> BackboneOutput:
        """Raw outputs → whitened ones. Training supervises the raw landmarks too, so it calls `raw` and then this."""
        white = features
        if not self.whitening_folded:
            white = functional.conv2d(features - self.feature_mean[:, None, None], self.feature_white[:, :, None, None])
        points = landmarks.reshape(-1, 39, 5)[:, :KEYPOINTS]  # the other six are BlazePose's alignment points
        keypoints = torch.cat([points[..., :3], torch.sigmoid(points[..., 3:4])], -1)
        return BackboneOutput(white, self.flat(summary, landmarks, world), keypoints)

    def flat(self, summary: Tensor, landmarks: Tensor, world: Tensor) -> Tensor:
        """(B, summary_size): the landmarks in about -1..1, the world landmarks and the 2x2 summary, whitened."""
        points = landmarks.reshape(-1, 39, 5)
        place, depth, seen = points[..., :2] / 128 - 1, points[..., 2:3] / 128, torch.tanh(points[..., 3:] / 5)
        flat = torch.cat([torch.cat([place, depth, seen], -1).flatten(1), world, summary.flatten(1)], 1)
        return (flat - self.summary_mean) / self.summary_deviation

    def fold_whitening(self, following: nn.Conv2d) -> None:
        """Folds the map's whitening into the 1x1 convolution that follows it, which saves 0.25 ms."""
        assert following.bias is not None
        weight = following.weight[:, :, 0, 0] @ self.feature_white
        following.bias.data -= weight @ self.feature_mean
        following.weight.data = weight[:, :, None, None].contiguous()
        self.whitening_folded = True

    def set_statistics(self, features: Tensor, summary: Tensor, landmarks: Tensor, world: Tensor) -> None:
        """Sets the whitening from raw outputs for a sample of training images: ZCA for the map's channels, a scale for
        the summary."""
        with torch.no_grad():
            pixels = features.transpose(0, 1).flatten(1).double()
            mean = pixels.mean(1)
            values, vectors = torch.linalg.eigh(torch.cov(pixels))
            # The smallest directions are noise of the half-precision weights: their deviation is raised to 1 % of the
            # largest one.
            scale = values.clamp(min=float(values.max()) * 1e-4).rsqrt()
            self.feature_mean.copy_(mean)
            self.feature_white.copy_(vectors @ torch.diag(scale) @ vectors.T)
            self.summary_mean.zero_()
            self.summary_deviation.fill_(1)
            flat = self.flat(summary, landmarks, world)
            self.summary_mean.copy_(flat.mean(0))
            self.summary_deviation.copy_(flat.std(0).clamp(min=LEAST_DEVIATION))

    def load_tflite(self, path: Path) -> None:
        """Loads the weights of this plan's .tflite. Raises UserError when the file holds another network."""
        convolutions = iter(_convolutions(path))
        try:
            for layer in self._file_order():
                if layer is None:  # a layer of the segmentation branch
                    next(convolutions)
                    continue
                weight, bias = next(convolutions)
                if layer.weight.shape != weight.shape:
                    raise ValueError(f"a layer is {tuple(weight.shape)}, {tuple(layer.weight.shape)} is expected")
                assert layer.bias is not None  # the file has no batch-norms, so every convolution has a bias
                layer.weight.data.copy_(torch.from_numpy(weight))
                layer.bias.data.copy_(torch.from_numpy(bias))
            if next(convolutions, None) is not None:
                raise ValueError("it has more layers than expected")
        except (ValueError, StopIteration) as error:
            raise UserError(
                f"{path}: not BlazePose's {self.plan.name} landmark network ({error}). {ORIGINS[self.plan.name]}"
            ) from error

    def _file_order(self) -> list[nn.Conv2d | None]:
        """The convolutions in the order of the file's operators; None stands for one of the segmentation branch."""
        order: list[nn.Conv2d | None] = [*_plain(self.stem)]
        for index, block in enumerate(self.trunk):
            expand, depth, project = _plain(block)
            # In the file, the branches from a block's output come after the next block's expansion.
            branches = [None, None] if index == 0 else []
            for others in (self.laterals, self.joins):
                if str(index - 1) in others:
                    branches += _plain(others[str(index - 1)])
            order += [expand, *branches, depth, project]
        # The decoder's map feeds the first block of the descent, then the segmentation branch, then the heat maps.
        first, *others = [_plain(part) for stage in self.descent for part in stage.children()] or [[]]
        down = [layer for layers in others for layer in layers]
        order += [*_plain(self.neck), *_plain(self.coarse), *first, *[None] * MASKED, *down, None]
        return [*order, *_plain(self.squeeze), *_plain(self.summary), self.landmarks, self.world, None]


def blazepose_of(net: nn.Module) -> BlazePose:
    """The backbone of a network whose backbone is known to be BlazePose."""
    assert isinstance(net.backbone, BlazePose)
    return net.backbone


def _plain(module: nn.Module) -> list[nn.Conv2d]:
    return [part for part in module.modules() if isinstance(part, nn.Conv2d)]


def _convolutions(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """Every convolution of a .tflite as (weight (out, in, k, k), bias (out,)), in the order of the file's operators."""
    from refit_rt.inference import openvino

    try:
        graph = openvino.Core().read_model(path)
    except RuntimeError as error:
        raise UserError(f"{path}: cannot be read as a .tflite. Delete it, and it is downloaded again") from error
    found = {}
    for node in graph.get_ordered_ops():
        if node.get_type_name() not in ("Convolution", "GroupConvolution"):
            continue
        weight = _constant(node.input_value(1).get_node())
        if node.get_type_name() == "GroupConvolution":  # stored (1, k, k, channels)
            weight = weight.transpose(3, 0, 1, 2)
        (after,) = node.output(0).get_target_inputs()
        bias = _constant(after.get_node().input_value(1).get_node())
        number = int(re.sub(r"\D", "", node.get_friendly_name()))  # names are numbered in the file's order
        found[number] = (weight.astype(np.float32), bias.ravel().astype(np.float32))
    return [found[number] for number in sorted(found)]


def _constant(node) -> np.ndarray:
    """The stored constant behind type conversions and layout changes."""
    while node.get_type_name() != "Constant":
        node = node.input_value(0).get_node()
    return node.get_data()
