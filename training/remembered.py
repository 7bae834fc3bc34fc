"""The outputs of a backbone that does not learn, computed once for each crop and kept in memory.

The heavy landmark network takes several times as long as the heads. A crop that is drawn again costs only a
look-up; its mirror image is another crop. On a processor OpenVINO runs the backbone, in half of torch's time.
"""

import hashlib
import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from refit_rt.model.blazepose import BlazePose

Raw = tuple[Tensor, Tensor, Tensor, Tensor]  # map, summary, landmarks and world landmarks, as of BlazePose.raw


class Remembered:
    """BlazePose.raw with a memory of at most `most` crops, 0.4 MB each."""

    def __init__(self, backbone: BlazePose, most: int, threads: int = 1, maps: bool = True) -> None:
        """maps: return maps too; without them, a crop takes 6 KB, and its map is empty."""
        self._raw, self._most, self._maps = compiled(backbone, threads), most, maps
        self._kept: dict[bytes, Raw] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Raw:
        """images: (B, 3, 256, 256) RGB 0..1, from pictures of eight bits."""
        answers = [self._of(image) for image in images]
        map_, summary, landmarks, world = (torch.cat(parts) for parts in zip(*answers, strict=True))
        return map_.float(), summary, landmarks, world

    def _of(self, image: Tensor) -> Raw:
        pixels = (image * 255).round().to(torch.uint8).cpu().numpy()
        key = hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()
        if key in self._kept:
            return self._kept[key]
        map_, summary, landmarks, world = self._raw(image[None])
        answer = (map_.half() if self._maps else map_[:, :0].half(), summary, landmarks, world)
        if len(self._kept) < self._most:
            self._kept[key] = answer
        return answer


class _Raw(nn.Module):
    """BlazePose.raw as a module, which can be converted."""

    def __init__(self, backbone: BlazePose) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> Raw:
        return self.backbone.raw(images)


def compiled(backbone: BlazePose, threads: int = 1) -> Callable[[Tensor], Raw]:
    """BlazePose.raw for one crop (1, 3, 256, 256): in OpenVINO if the backbone is on the CPU, otherwise in torch."""
    if next(backbone.parameters()).device.type != "cpu":
        return backbone.raw
    from refit_rt.inference import openvino as ov

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # OpenVINO traces the module with a function that torch calls deprecated
        model = ov.convert_model(_Raw(backbone), example_input=torch.zeros(1, 3, 256, 256))
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    run = ov.Core().compile_model(model, "CPU", settings)

    def raw(image: Tensor) -> Raw:
        map_, summary, landmarks, world = (
            torch.from_numpy(answer.copy()) for answer in run([image.contiguous().numpy()]).values()
        )
        return map_, summary, landmarks, world

    return raw
