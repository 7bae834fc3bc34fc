"""HRNet-W48 and W32 as ReFit uses them: image → stride-4 features and one global vector.

Architecture: Sun et al., "Deep High-Resolution Representation Learning for Human Pose Estimation" (CVPR 2019), with
ReFit's three upsampling heads and its global branch. Parameter names are the official ones, so that ReFit's checkpoints
and HRNet's COCO-pretrained files load without renaming.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class BackboneOutput(NamedTuple):
    """A backbone's output for a batch of crops."""

    features: Tensor  # (B, C, 64, 64) at stride 4
    summary: Tensor  # (B, Z) one vector per crop
    keypoints: Tensor | None = None  # (B, 33, 4) x px, y px of the crop, depth px, visibility 0..1


def conv_bn(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> list[nn.Module]:
    """A bias-free convolution that keeps the size (divided by the stride), and its batch norm."""
    return [nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False), nn.BatchNorm2d(outputs)]


def conv_bn_relu(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(*conv_bn(inputs, outputs, kernel, stride), nn.ReLU(inplace=True))


class Basic(nn.Module):
    """Two 3x3 convolutions with a skip connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(width, width)
        self.conv2, self.bn2 = conv_bn(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions with a skip connection; the output is four times as wide."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = conv_bn(inputs, width, 1)
        self.conv2, self.bn2 = conv_bn(width, width)
        self.conv3, self.bn3 = conv_bn(width, 4 * width, 1)
        self.downsample = nn.Sequential(*conv_bn(inputs, 4 * width, 1)) if inputs != 4 * width else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        y = torch.relu(self.bn2(self.conv2(y)))
        return torch.relu(self.downsample(x) + self.bn3(self.conv3(y)))


class Exchange(nn.Module):
    """Parallel branches at strides 4, 8, …: four blocks refine each one, then every branch is added to every other."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(*[Basic(width) for _ in range(4)]) for width in widths)
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(self._path(widths, source, target) for source in range(len(widths)))
            for target in range(len(widths))
        )

    @staticmethod
    def _path(widths: list[int], source: int, target: int) -> nn.Module:
        if source == target:
            return nn.Identity()
        if source > target:
            up = nn.Upsample(scale_factor=2 ** (source - target), mode="nearest")
            return nn.Sequential(*conv_bn(widths[source], widths[target], 1), up)
        steps: list[nn.Module] = [
            conv_bn_relu(widths[source], widths[source], stride=2) for _ in range(target - source - 1)
        ]
        return nn.Sequential(*steps, nn.Sequential(*conv_bn(widths[source], widths[target], stride=2)))

    def forward(self, branches: list[Tensor]) -> list[Tensor]:
        refined = [refine(x) for refine, x in zip(self.branches, branches, strict=True)]
        fused = []
        for paths in self.fuse_layers:
            assert isinstance(paths, nn.ModuleList)
            total = paths[0](refined[0])
            for path, x in zip(paths[1:], refined[1:], strict=True):
                total = total + path(x)
            fused.append(torch.relu(total))
        return fused


class HRNet(nn.Module):
    """images (B, 3, S, S), normalised as in ReFitConfig → 15 · width feature channels and a summary of 8 · width."""

    def __init__(self, width: int = 48) -> None:
        super().__init__()
        widths = [width, 2 * width, 4 * width, 8 * width]
        self.feature_channels, self.summary_size = sum(widths), widths[-1]
        self.conv1, self.bn1 = conv_bn(3, 64, stride=2)
        self.conv2, self.bn2 = conv_bn(64, 64, stride=2)
        self.layer1 = nn.Sequential(Bottleneck(64, 64), *[Bottleneck(256, 64) for _ in range(3)])
        self.transition1 = nn.ModuleList(
            [conv_bn_relu(256, widths[0]), nn.Sequential(conv_bn_relu(256, widths[1], stride=2))]
        )
        self.stage2 = nn.ModuleList([Exchange(widths[:2])])
        self.transition2 = self._grow(widths[:3])
        self.stage3 = nn.ModuleList(Exchange(widths[:3]) for _ in range(4))
        self.transition3 = self._grow(widths)
        self.stage4 = nn.ModuleList(Exchange(widths) for _ in range(3))
        self.upsample_stage_2 = self._upsample(widths[1], 1)
        self.upsample_stage_3 = self._upsample(widths[2], 2)
        self.upsample_stage_4 = self._upsample(widths[3], 3)
        self.downsamples = nn.ModuleList(conv_bn_relu(w, 2 * w, stride=2) for w in widths[:3])
        self.final_layer = conv_bn_relu(widths[3], widths[3], 1)

    @staticmethod
    def _grow(widths: list[int]) -> nn.ModuleList:
        """Keeps the branches and adds one, at half the size of the coarsest."""
        kept = [nn.Identity() for _ in widths[:-1]]
        return nn.ModuleList([*kept, nn.Sequential(conv_bn_relu(widths[-2], widths[-1], stride=2))])

    @staticmethod
    def _upsample(width: int, times: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for _ in range(times):
            layers += [
                nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True),
                *conv_bn(width, width),
                nn.ReLU(inplace=True),
            ]
        return nn.Sequential(*layers)

    def forward(self, images: Tensor) -> BackboneOutput:
        x = torch.relu(self.bn1(self.conv1(images)))
        x = self.layer1(torch.relu(self.bn2(self.conv2(x))))
        branches = [start(x) for start in self.transition1]
        for stage, transition in ((self.stage2, self.transition2), (self.stage3, self.transition3), (self.stage4, [])):
            for exchange in stage:
                branches = exchange(branches)
            if transition:
                branches = [step(b) for step, b in zip(transition, [*branches, branches[-1]], strict=True)]
        features = torch.cat(
            [
                branches[0],
                self.upsample_stage_2(branches[1]),
                self.upsample_stage_3(branches[2]),
                self.upsample_stage_4(branches[3]),
            ],
            dim=1,
        )
        y = branches[0]
        for halve, x in zip(self.downsamples, branches[1:], strict=True):
            y = halve(y) + x
        return BackboneOutput(features, self.final_layer(y).mean((-2, -1)))
