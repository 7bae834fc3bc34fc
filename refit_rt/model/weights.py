"""Official ReFit checkpoints and COCO-pretrained HRNets → the state dict of this network; every name must match.

A trainer may keep the network under any key, and its wrappers may put anything before its names: Lightning `state_dict`
and `model.`, DataParallel `module.`, torch.compile `_orig_mod.`, averages `ema_model.module.`. So a network is found by
one name that only it has (`find_network`).
"""

import logging
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from refit_rt.errors import UserError
from refit_rt.model.config import EDGE, HEAVY, ReFitConfig
from refit_rt.model.torch_file import entries_of, read_checkpoint, tensor_of
from refit_rt.pickles import shown

log = logging.getLogger(__name__)

# Entries of an official checkpoint that are not part of the network: three bodies (here the body is a file of its own),
# and the downsampling layers under their first name (they are listed twice, and only `downsamples.*` is used).
EXTRAS = re.compile(r"(smpl|smpl_male|smpl_female)\..*|backbone\.downsample_stage_[123]\..*")
NAMED = 8  # an error message lists so many names
COUNTER = "n_averaged"
PRESENCE = "presence."  # begins the names of the weights of the presence head
DESCENT = "backbone.descent."  # begins names of weights that only BlazePose's heavy network has
# One name of each network that nothing else has.
OFFICIAL, COCO = "update_block.pose_gru.lz.weight", "transition1.0.0.weight"
DEPTH = 4  # dicts inside dicts that are searched
CURRENT = "current_model_state"  # Lightning keeps the last step's weights there, and the average in `state_dict`
AVERAGED = re.compile(r"(^|[._])(ema|swa|shadow|average|averaged|avg)([._]|$)|ema_model", re.IGNORECASE)
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
    return from_official(find_network(read_checkpoint(Path(path)), OFFICIAL, str(path)), str(path))


def find_network(checkpoint: Mapping[str, Any], anchor: str, source: str) -> dict[str, Tensor]:
    """The state dict that has the name `anchor`, wherever the checkpoint has it, without what stands before its names.

    Averaged weights are preferred to those of the last step, which the log mentions; names that the average lacks, such
    as the statistics of batch norms, come from the latter. Without the name, it is the dict with most tensors, for a
    message that lists what is missing. Raises UserError for several networks, unless one is the average of the other,
    and for none.
    """
    held = list(dicts(checkpoint))
    found = {
        shown(f"{place}{name.removesuffix(anchor)}".strip(".")): _below(entries, name.removesuffix(anchor))
        for place, entries in held
        for name in entries
        if isinstance(name, str) and (name == anchor or name.endswith(f".{anchor}"))
    }
    current = any(CURRENT in place for place in found)
    averages = {place for place in found if AVERAGED.search(place) or (current and CURRENT not in place)}
    originals = found.keys() - averages
    if len(averages) > 1 or len(originals) > 1:
        places = some_of(sorted(place or "the file itself" for place in found), " and ")
        raise UserError(f"{source}: holds several networks, in {places}. Save one of them alone")
    if averages and originals:
        (average,), (original,) = averages, originals
        log.info("%s: of the weights in %s and %s, the former are averaged, and taken", source, average, original)
        return found[original] | found[average]
    if found:
        return next(iter(found.values()))
    most = max((_below(entries, "") for _, entries in held), key=len)
    if not most:
        raise UserError(f"{source}: holds no weights but {some_of([str(key) for key in checkpoint])}. {OWN_WEIGHTS}")
    return most


def dicts(checkpoint: Mapping[Any, Any]) -> Iterator[tuple[str, Mapping[Any, Any]]]:
    """A dict and the dicts in it, each once, with its place: the keys that lead to it, each with a dot after it."""
    waiting, seen = deque([("", 0, checkpoint)]), set[int]()
    while waiting:
        place, depth, entries = waiting.popleft()
        yield place, entries
        for key, value in entries.items() if depth < DEPTH else ():
            if id(value) not in seen and (inner := entries_of(value)) is not None:
                seen.add(id(value))
                waiting.append((f"{place}{key}.", depth + 1, inner))


def _below(entries: Mapping[Any, Any], before: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `before`, without it; the counter of torch's AveragedModel is left out."""
    tensors = {
        name.removeprefix(before): tensor_of(value)
        for name, value in entries.items()
        if isinstance(name, str) and name.startswith(before)
    }
    return {name: tensor for name, tensor in tensors.items() if tensor is not None and name != COUNTER}


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
    try:
        ours |= {f"regressor.layer.{kind}": all_heads(parts) for kind, parts in layer.items()}
        weight, bias = (torch.cat([all_heads(parts) for parts in gates[kind]], dim=1) for kind in ("weight", "bias"))
        hidden = bias.shape[1] // 3
        ours["update.gru.from_hidden"] = weight[..., :hidden].contiguous()
        ours["update.gru.from_input.weight"] = weight[..., hidden:].flatten(0, 1)
        ours["update.gru.from_input.bias"] = bias.flatten()
    except (RuntimeError, IndexError) as error:
        raise UserError(
            f"{source}: the GRUs or their regressor have other shapes than ReFit's. {OWN_WEIGHTS}"
        ) from error
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
    broken = [name for name in wanted if not torch.isfinite(state[name]).all()]
    if broken:
        raise UserError(f"{source}: {some_of(broken)}: values that are not finite. Give an earlier checkpoint")
    model.load_state_dict(dict(state), strict=True)


def require_names(missing: Iterable[str], surplus: Iterable[str], source: str) -> None:
    missing, surplus = sorted(missing), sorted(surplus)
    lists = [f"{what}: {some_of(names)}" for what, names in (("missing", missing), ("surplus", surplus)) if names]
    if lists:
        raise UserError(f"{source}: weights of another network ({'; '.join(lists)}). {OWN_WEIGHTS}")


def some_of(names: list[str], between: str = ", ") -> str:
    """The first names of a list, which may hold hundreds, and the number of the others."""
    rest = len(names) - NAMED
    return between.join(map(shown, names[:NAMED])) + (f" and {rest} more" if rest > 0 else "")


def load_coco_backbone(backbone: nn.Module, path: str | Path) -> None:
    """Loads the trunk of an HRNet from a COCO pose network (`pose_hrnet_w48_256x192.pth`); every name must match.

    ReFit's own upsampling and global branches, which such a file lacks, keep their random weights. Raises UserError.
    """
    official = find_network(read_checkpoint(Path(path)), COCO, str(path))
    trunk = {name: tensor for name, tensor in official.items() if name.split(".")[0] in COCO_PARTS}
    own = {name: tensor for name, tensor in backbone.state_dict().items() if name.split(".")[0] not in COCO_PARTS}
    load_into(backbone, {**trunk, **own}, str(path))
