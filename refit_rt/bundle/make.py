"""Makes a bundle from a torch network: encoder.onnx, loop.safetensors, model.yaml, and the body."""

import copy
import shutil
import warnings
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnx.numpy_helper
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from refit_rt.body.smpl import load_body
from refit_rt.bundle import read as bundles
from refit_rt.errors import UserError
from refit_rt.files import sha256_of, write_whole_folder
from refit_rt.model.blazepose import BlazePose, blazepose_of
from refit_rt.model.config import ReFitConfig
from refit_rt.model.refit import ReFit, build
from refit_rt.model.weights import load_into, load_official

OPSET = 17  # the last one that TensorRT 8.6, OpenVINO 2024 and ONNX Runtime 1.16 all read
# Names of the loop's weights begin like this; the rest belongs to the encoder.
LOOP_PARTS = ("feedback.", "update.", "regressor.", "confidence.", "presence.", "mean_")
W32_SUMMARY, W48_SUMMARY = 256, 384  # the width of the global vector distinguishes the two official backbones
HALF_FROM = 1024  # numbers in a tensor; smaller tensors are not worth a Cast node


@dataclass(frozen=True)
class Facts:
    """The facts on a bundle's card that the network itself does not contain."""

    name: str
    licence: str
    crop: bundles.Crop = field(default_factory=bundles.Crop)  # its size is ignored: the network determines it
    training: dict[str, Any] = field(default_factory=dict)
    accuracy: dict[str, Any] = field(default_factory=dict)


class Encoder(nn.Module):
    """Everything before the loop: crop (N, S, S, 3) uint8 RGB → maps (N, M, S/4, S/4), hidden (N, 26, H) and, if the
    backbone has them, keypoints (N, 33, 4)."""

    def __init__(self, model: ReFit) -> None:
        super().__init__()
        self.model = model

    def forward(self, crop: Tensor) -> tuple[Tensor, ...]:
        encoded = self.model.encode(crop.permute(0, 3, 1, 2).float() / 255)
        return tuple(part for part in encoded if part is not None)


def export_bundle(model: ReFit, out: Path, facts: Facts, body: Path | None = None) -> None:
    """Writes a bundle. It replaces an older bundle at `out` as a whole, and a failure leaves nothing half-written.

    body: the body file of the network's training, which is copied into the bundle; None is the packaged free body.
    Raises UserError when `out` holds something else or cannot be written, or when the body's markers do not fit.
    """
    given = load_body(body)
    if given.markers is None or len(given.markers) != model.config.marker_count:
        count = "no" if given.markers is None else len(given.markers)
        raise UserError(
            f"{body or 'the packaged body'}: has {count} markers, the network needs {model.config.marker_count}. "
            "Give the body that the network was trained on"
        )
    with write_whole_folder(Path(out), is_bundle, "bundle") as made:
        was_training = model.training
        model.eval()
        write_encoder(model, made / bundles.ENCODER)
        loop = {
            name: shortest(value.detach().float().contiguous().cpu())
            for name, value in model.state_dict().items()
            if name.startswith(LOOP_PARTS)
        }
        save_file(loop, made / bundles.LOOP)
        model.train(was_training)
        if body is not None:
            shutil.copyfile(body, made / bundles.BODY)
        config = model.config
        write_card(
            made,
            bundles.Card(
                name=facts.name,
                licence=facts.licence,
                training=facts.training,
                accuracy=facts.accuracy,
                crop=msgspec.structs.replace(facts.crop, size_px=config.crop_px),
                input=bundles.Input(mean=config.rgb_mean, spread=config.rgb_spread),
                markers=config.marker_count,
                iterations=config.iterations,
                scale_floor=config.scale_floor,
                body=bundles.PACKAGED_BODY if body is None else bundles.BODY,
                body_sha256=given.digest,
                files={},
            ),
        )


def is_bundle(folder: Path) -> bool:
    return (folder / bundles.CARD).is_file()


def write_card(folder: Path, card: bundles.Card) -> None:
    """Writes model.yaml, with the hash of every other file of the bundle."""
    digests = {path.name: sha256_of(path) for path in sorted(folder.iterdir()) if path.name != bundles.CARD}
    (folder / bundles.CARD).write_bytes(msgspec.yaml.encode(msgspec.structs.replace(card, files=digests)))


def write_encoder(model: ReFit, path: Path) -> None:
    """Writes the encoder as ONNX with an open batch size. The model must be in eval mode and on the CPU."""
    side = model.config.crop_px
    names = ["maps", "hidden", "keypoints"][: 2 + model.config.keypoint_feedback]
    example = torch.zeros(1, side, side, 3, dtype=torch.uint8)
    with warnings.catch_warnings(), torch.no_grad():
        if isinstance(model.backbone, BlazePose):
            model = copy.deepcopy(model)
            following = next(model.map_head.children())
            assert isinstance(following, nn.Conv2d)
            blazepose_of(model).fold_whitening(following)
        # dynamo=False selects the tracing exporter: the other one needs onnxscript and writes weights to a second file.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Encoder(model),
            (example,),
            str(path),
            dynamo=False,
            opset_version=OPSET,
            input_names=["crop"],
            output_names=names,
            dynamic_axes={name: {0: "person"} for name in ["crop", *names]},
        )
    store_halves(path)


def shortest(value: Tensor) -> Tensor:
    """The same numbers as float16 if that holds each of them exactly; `read.read_weights` converts them to float32."""
    half = value.half()
    return half if value.numel() >= HALF_FROM and torch.equal(half.float(), value) else value


def store_halves(path: Path) -> None:
    """Stores the weights that float16 holds exactly as float16, which halves the file: BlazePose's are such weights.

    Nothing is rounded, and runtimes convert the weights back to float32 when they load the file.
    """
    graph = onnx.load(str(path))
    for tensor in list(graph.graph.initializer):
        array = onnx.numpy_helper.to_array(tensor)
        if array.dtype != np.float32 or array.size < HALF_FROM:
            continue
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if not np.array_equal(half.astype(np.float32), array):
            continue
        name = tensor.name
        tensor.CopyFrom(onnx.numpy_helper.from_array(half, f"{name}.half"))
        graph.graph.node.insert(0, onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=onnx.TensorProto.FLOAT))
    onnx.save(graph, str(path))


def import_weights(checkpoint: Path, body: Path, out: Path) -> None:
    """Makes a bundle from an official ReFit checkpoint and the SMPL body of its training (from import-smpl).

    The weights show whether the backbone is HRNet-W48 or W32. Raises UserError for names that are missing or left over.
    """
    weights = load_official(checkpoint)
    summary = weights["init_head.weight"].shape[-1]
    if summary not in (W32_SUMMARY, W48_SUMMARY):
        raise UserError(
            f"{checkpoint}: the global vector has {summary} numbers, which no official backbone has. "
            "Give a checkpoint of HRNet-W48 or W32"
        )
    config = ReFitConfig(backbone="hrnet_w48" if summary == W48_SUMMARY else "hrnet_w32")
    given = load_body(Path(body))
    if given.markers is None:
        raise UserError(f"{body}: has no markers. Import it again: refit-rt import-smpl")
    model = build(replace(config, marker_count=len(given.markers)), given)
    load_into(model, weights, str(checkpoint))
    facts = Facts(
        name=f"refit-{config.backbone}",
        training={"checkpoint": Path(checkpoint).name},
        licence="LicenseRef-ReFit-research-only",  # as for the data sets of the training
        crop=bundles.Crop(margin=1.2),  # as in the official demo
    )
    export_bundle(model, out, facts, Path(body))
