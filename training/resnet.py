"""A backbone to compare BlazePose with, at the same cost on a processor: a thin ResNet-18 with a feature pyramid.

He et al., CVPR 2016; Lin et al., CVPR 2017. There are no weights trained on real people, so it begins with random ones.
Its map, summary and landmarks have BlazePose's shapes, and everything after them is the same.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from refit_rt.model.blazepose import BlazePose, separable
from refit_rt.model.hrnet import conv_bn, conv_bn_relu

WIDTH = 26  # channels of the first stage: a crop then takes as long as with BlazePose in OpenVINO


class Block(nn.Module):
    """Two 3x3 convolutions with a skip connection; the first may halve the resolution."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.way = nn.Sequential(*conv_bn_relu(inputs, outputs, stride=stride), *conv_bn(outputs, outputs))
        same = stride == 1 and inputs == outputs
        self.skip = nn.Identity() if same else nn.Sequential(*conv_bn(inputs, outputs, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(self.skip(x) + self.way(x))


class ResNet(BlazePose):
    """Maps pictures (B, 3, 256, 256) RGB 0..1 to the same `BackboneOutput` as BlazePose."""

    def __init__(self) -> None:
        super().__init__()
        for part in ("stem", "trunk", "neck", "coarse", "laterals"):
            delattr(self, part)
        widths = [WIDTH << stage for stage in range(4)]
        self.begin = nn.Sequential(*conv_bn_relu(3, WIDTH, 7, 2), nn.MaxPool2d(3, 2, 1))
        before = [WIDTH, *widths]
        self.stages = nn.ModuleList(
            nn.Sequential(Block(before[i], width, 1 if i == 0 else 2), Block(width, width, 1))
            for i, width in enumerate(widths)
        )
        self.across = nn.ModuleList(nn.Conv2d(width, self.feature_channels, 1) for width in widths)
        self.squeeze = separable(widths[-1], 288)

    def pyramid(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The map (B, 48, 64, 64) and the summary (B, 288, 2, 2)."""
        x, levels = self.begin(images), []
        for stage in self.stages:
            x = stage(x)
            levels.append(x)
        features = self.across[-1](x)
        for step, level in zip(reversed(self.across[:-1]), reversed(levels[:-1]), strict=True):
            features = interpolate(features, scale_factor=2.0, mode="bilinear") + step(level)
        return features, self.summary(self.squeeze(x))
