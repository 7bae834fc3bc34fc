"""A backbone of one convolution, for tests that do not depend on the backbone, and a network around it."""

import torch

from refit_rt.body.smpl import Body
from refit_rt.model.config import ReFitConfig
from refit_rt.model.hrnet import BackboneOutput
from refit_rt.model.refit import ReFit, build


class Tiny(torch.nn.Module):
    """Images → BackboneOutput, with 33 landmarks if asked."""

    feature_channels, summary_size = 8, 16

    def __init__(self, keypoints: bool = False) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(3, 8, 7, 4, 3)
        self.summary = torch.nn.Linear(8, 16)
        self.keypoints = keypoints

    def forward(self, images):
        features = torch.tanh(self.conv(images))
        pooled = features.mean((-2, -1))
        landmarks = 128 + 60 * pooled.repeat(1, 17)[:, :132].unflatten(1, (33, 4)) if self.keypoints else None
        if landmarks is not None:
            landmarks = torch.cat([landmarks[..., :3], torch.sigmoid(landmarks[..., 3:])], dim=-1)
        return BackboneOutput(features, self.summary(pooled), landmarks)


def lively(config: ReFitConfig, body: Body) -> ReFit:
    """A network with random weights, in which every part moves the body by as much as a trained one would."""
    torch.manual_seed(7)
    model = build(config, body, Tiny(keypoints=config.keypoint_feedback)).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name in ("regressor.pose.weight", "regressor.betas.weight", "regressor.cam.weight"):
                weight.normal_(std=0.05)
            if name == "feedback.keypoints.last.weight":
                weight.normal_(std=0.02)
            if name in ("map_head.2.weight", "map_head.6.weight"):  # the last of the light head, of the official one
                weight.mul_(8)
    return model
