"""Official ReFit checkpoints and COCO-pretrained HRNets → the state dict of this network; every name must match."""

import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from refit_rt.errors import UserError
from refit_rt.model.config import EDGE, HEAVY, ReFitConfig

# Entries of an official checkpoint that are not part of the network: three bodies (here the body is a file of its own),
# and the downsampling layers under their first name (they are listed twice, and only `downsamples.*` is used).
EXTRAS = re.compile(r"(smpl|smpl_male|smpl_female)\..*|backbone\.downsample_stage_[123]\..*")
NAMED = 8  # an error message lists so many names
PRESENCE = "presence."  # begins the names of the weights of the presence head
DESCENT = "backbone.descent."  # begins names of weights that only BlazePose's heavy network has
OWN_WEIGHTS = "Give weights that were trained with this architecture"
MEANS = {"init_pose": "mean_pose6d", "init_shape": "mean_betas", "init_cam": "mean_cam"}
# The parts of a COCO pose network that ReFit starts from.
COCO_PARTS = (
    "conv1",
    "bn1",
    "conv2",
    "bn2",
    "layer1",
    "transition1",
    "stage2",
    "transition2",
    "stage3",
    "transition3",
    "stage4",
)


def load_official(path: str | Path) -> dict[str, Tensor]:
    """Official checkpoint file → state dict for `ReFit`, to be loaded with strict=True.

    Raises UserError when the file is missing or not a checkpoint, or when names are missing or left over.
    """
    checkpoint = read_checkpoint(Path(path))
    model = checkpoint.get("model", checkpoint)
    if not isinstance(model, Mapping):
        raise UserError(f"{path}: 'model' is not a state dict. Give a ReFit checkpoint (checkpoint_best.pth.tar)")
    return from_official(model, str(path))


def from_official(official: Mapping[str, Tensor], source: str = "weights") -> dict[str, Tensor]:
    """Official names → this network's. The 26 GRUs are three modules there and one batched module here.

    Raises UserError when names are missing or left over.
    """
    left = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in official.items()
        if not EXTRAS.fullmatch(name)
    }
    missing: list[str] = []

    def take(name: str) -> Tensor:
        if name not in left:
            missing.append(name)
            return torch.zeros(0)
        return left.pop(name)

    ours: dict[str, Tensor] = {new: take(old) for old, new in MEANS.items()}
    for prefix, new in (
        ("flow_layer", "feedback.flow"),
        ("local_layer", "feedback.local"),
        ("init_layer", "init_head"),
        ("regressor.decpose", "regressor.pose"),
        ("regressor.decshape", "regressor.betas"),
        ("regressor.deccam", "regressor.cam"),
    ):
        ours |= {f"{new}.{kind}": take(f"{prefix}.{kind}") for kind in ("weight", "bias")}
    layer = {kind: [take(f"regressor.{head}.0.{kind}") for head in "psc"] for kind in ("weight", "bias")}
    gates = {
        kind: [[take(f"update_block.{head}_gru.l{gate}.{kind}") for head in ("pose", "shape", "cam")] for gate in "zrq"]
        for kind in ("weight", "bias")
    }
    for name in [name for name in left if name.startswith(("backbone.", "corr_layer."))]:
        ours[name.replace("corr_layer.", "map_head.")] = left.pop(name)
    require_names(missing, left, source)
    ours |= {f"regressor.layer.{kind}": all_heads(parts) for kind, parts in layer.items()}
    weight, bias = (torch.cat([all_heads(parts) for parts in gates[kind]], dim=1) for kind in ("weight", "bias"))
    hidden = bias.shape[1] // 3
    ours["update.gru.from_hidden"] = weight[..., :hidden].contiguous()
    ours["update.gru.from_input.weight"] = weight[..., hidden:].flatten(0, 1)
    ours["update.gru.from_input.bias"] = bias.flatten()
    return ours


def all_heads(parts: list[Tensor]) -> Tensor:
    """Pose (24, …), shape (…), camera (…) → (26, …)."""
    pose, shape, cam = parts
    return torch.cat([pose, shape[None], cam[None]])


def edge_of(state: Mapping[str, Tensor]) -> ReFitConfig:
    """The edge network's configuration for a state dict, which may hold a presence head and the heavy backbone."""
    config = HEAVY if any(name.startswith(DESCENT) for name in state) else EDGE
    return replace(config, presence=f"{PRESENCE}weight" in state)


def load_into(model: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Loads a state dict. Raises UserError, which lists the first differences, unless all names and shapes match.

    A network without a presence head leaves that head's weights out, as training does: the head fits one encoder only.
    """
    wanted = model.state_dict()
    if not any(name.startswith(PRESENCE) for name in wanted):
        state = {name: tensor for name, tensor in state.items() if not name.startswith(PRESENCE)}
    require_names(wanted.keys() - state.keys(), state.keys() - wanted.keys(), source)
    wrong = [
        f"{name} is {tuple(state[name].shape)}, {tuple(tensor.shape)} is needed"
        for name, tensor in wanted.items()
        if state[name].shape != tensor.shape
    ]
    if wrong:
        raise UserError(f"{source}: weights of another network ({some_of(wrong, '; ')}). {OWN_WEIGHTS}")
    model.load_state_dict(dict(state), strict=True)


def require_names(missing: Iterable[str], surplus: Iterable[str], source: str) -> None:
    missing, surplus = sorted(missing), sorted(surplus)
    lists = [f"{what}: {some_of(names)}" for what, names in (("missing", missing), ("surplus", surplus)) if names]
    if lists:
        raise UserError(f"{source}: weights of another network ({'; '.join(lists)}). {OWN_WEIGHTS}")


def some_of(names: list[str], between: str = ", ") -> str:
    """The first names of a list, which may hold hundreds, and the number of the others."""
    rest = len(names) - NAMED
    return between.join(names[:NAMED]) + (f" and {rest} more" if rest > 0 else "")


def load_coco_backbone(backbone: nn.Module, path: str | Path) -> None:
    """Loads the trunk of an HRNet from a COCO pose network (`pose_hrnet_w48_256x192.pth`); every name must match.

    ReFit's own upsampling and global branches, which such a file lacks, keep their random weights. Raises UserError.
    """
    official = read_checkpoint(Path(path))
    trunk = {name: tensor for name, tensor in official.items() if name.split(".")[0] in COCO_PARTS}
    own = {name: tensor for name, tensor in backbone.state_dict().items() if name.split(".")[0] not in COCO_PARTS}
    load_into(backbone, {**trunk, **own}, str(path))


def read_checkpoint(path: Path) -> dict:
    """Reads a torch file without running any code that it may contain. Raises UserError."""
    if not path.is_file():
        raise UserError(f"{path}: no such file. Give the path of a checkpoint")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        LookupError,
        ValueError,
        TypeError,
        AttributeError,
    ) as error:  # the errors that the restricted unpickler raises for a file that holds something else
        raise UserError(
            f"{path}: not a checkpoint of tensors ({str(error).splitlines()[0]}). "
            "Save it again as {'model': state_dict}"
        ) from error
    if not isinstance(checkpoint, dict):
        raise UserError(f"{path}: holds a {type(checkpoint).__name__}, not a checkpoint. Give a file of weights")
    return checkpoint
