"""Moves trained heads behind another backbone: a linear fit of the two layers that read the backbone's outputs.

The channels of two backbones' maps have nothing in common but what they say of the picture. So the map head's first
layer, behind the new backbone, is the one that predicts what it computes behind the old one, from the same crops; the
first layer of the initial estimate likewise. All layers after these stay as they are.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from refit_rt.model.blazepose import BlazePose, blazepose_of
from refit_rt.model.refit import ReFit
from training.remembered import Raw, compiled

STATISTICS = 400  # crops whose maps give the statistics for whitening
PER_CROP = 512  # pixels of each crop's map: neighbours say nearly the same
RIDGE = 0.01  # of the map's mean variance
SUMMARY_RIDGE = 0.1  # the summary has as many numbers as there are crops


@torch.no_grad()
def transplant(old: ReFit, new: ReFit, images: Tensor) -> tuple[float, float]:
    """Gives `new` the heads of `old`, and fits the first layers of both heads to the new backbone's outputs.

    The new backbone has its weights already; its whitening is set here. images: (n, 3, 256, 256) RGB 0..1, a thousand
    or more. Returns which share of the old layers' variance the new ones predict: of the map's and of the initial
    estimate's layer.
    """
    heads = {name: value for name, value in old.state_dict().items() if not name.startswith("backbone.")}
    new.load_state_dict(heads, strict=False)
    before, after = blazepose_of(old), blazepose_of(new)
    ours, theirs = _answers(after, images), _answers(before, images)
    after.set_statistics(ours[0][:STATISTICS].float(), *ours[1:])
    places = torch.randperm(64 * 64, generator=torch.Generator().manual_seed(0))[:PER_CROP]
    seen, known = (
        backbone.see(raw[0].flatten(2)[..., places, None].float(), *raw[1:])
        for backbone, raw in ((after, ours), (before, theirs))
    )
    pixels, known_pixels = (one.features[..., 0].transpose(1, 2).flatten(0, 1) for one in (seen, known))
    layer, known_layer = (_conv(net.map_head) for net in (new, old))
    share = fit(layer, pixels, linear(known_pixels, known_layer.weight[:, :, 0, 0], known_layer.bias), RIDGE)
    first, known_first = (_linear(net.init_head) for net in (new, old))
    return share, fit(first, seen.summary, known_first(known.summary), SUMMARY_RIDGE)


def fit(layer: nn.Linear | nn.Conv2d, inputs: Tensor, wanted: Tensor, ridge: float) -> float:
    """Sets a layer so that inputs (n, i) give wanted (n, o) in the least squares. ridge: of the inputs' mean variance.

    Returns the share of the variance that it explains.
    """
    x, y = inputs.double(), wanted.double()
    mean, middle = x.mean(0), y.mean(0)
    x, y = x - mean, y - middle
    gram = x.T @ x
    gram.diagonal().add_(ridge * gram.diagonal().mean())
    weight = torch.linalg.solve(gram, x.T @ y).T
    assert layer.bias is not None
    layer.weight.copy_(weight.float().reshape(layer.weight.shape))
    layer.bias.copy_((middle - weight @ mean).float())
    return float(1 - (y - x @ weight.T).square().sum() / y.square().sum())


def _answers(backbone: BlazePose, images: Tensor) -> Raw:
    """The raw outputs for all images; the maps are in half precision."""
    raw, rows = compiled(backbone, torch.get_num_threads()), []
    for image in images:
        map_, *others = raw(image[None])
        rows.append((map_.half(), *others))
    map_, summary, landmarks, world = (torch.cat(parts) for parts in zip(*rows, strict=True))
    return map_, summary, landmarks, world


def _conv(head: nn.Module) -> nn.Conv2d:
    first = next(head.children())
    assert isinstance(first, nn.Conv2d)
    return first


def _linear(head: nn.Module) -> nn.Linear:
    first = next(head.children())
    assert isinstance(first, nn.Linear)
    return first
