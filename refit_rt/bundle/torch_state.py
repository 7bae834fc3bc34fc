"""A bundle of the edge network → the network in torch with exactly its weights, from which a training run starts."""

import numpy as np
import onnx
import onnx.numpy_helper
import torch
from torch import Tensor

from refit_rt.bundle.read import Bundle
from refit_rt.errors import UserError
from refit_rt.model.config import EDGE
from refit_rt.model.refit import ReFit, build
from refit_rt.model.weights import edge_of, load_into

# Prefix and suffix of names in encoder.onnx: Encoder holds the network as `model`, and make.store_halves adds .half.
PREFIX, HALF = "model.", ".half"
STEM = "backbone.stem.0.0.weight"  # BlazePose's first layer


def read_network(bundle: Bundle) -> ReFit:
    """The edge network in evaluation mode, with float32 weights. Exporting it again gives the bundle's arrays.

    In a bundle the map's whitening is folded into the layer that follows it (BlazePose.fold_whitening), so
    `feature_white` is the identity here and `feature_mean` is zero; training.checkpoint unfolds it.

    Raises UserError for a bundle of another network. HRNet cannot be read back, because the exporter folds its batch
    norms.
    """
    state = encoder_state(bundle) | {name: torch.from_numpy(array.copy()) for name, array in bundle.weights.items()}
    card = bundle.card
    normalisation = (card.input.mean, card.input.spread, card.scale_floor, card.crop.size_px)
    if STEM not in state or normalisation != (EDGE.rgb_mean, EDGE.rgb_spread, EDGE.scale_floor, EDGE.crop_px):
        raise UserError(
            f"{bundle.path}: holds another network than edge, which cannot be read back into torch. "
            "Give a bundle of the edge network, or the checkpoint from which this bundle was made"
        )
    with torch.random.fork_rng(devices=[]):  # the initial random weights must not advance the run's random generator
        network = build(edge_of(state), bundle.body).eval()
    own = network.state_dict()
    identity = {name: own[name].clone() for name in ("backbone.feature_mean", "backbone.feature_white")}
    load_into(network, state | identity, str(bundle.path))
    return network


def encoder_state(bundle: Bundle) -> dict[str, Tensor]:
    """The weights in encoder.onnx as float32, under the network's own names."""
    graph = onnx.load(str(bundle.encoder)).graph
    return {
        tensor.name.removeprefix(PREFIX).removesuffix(HALF): torch.from_numpy(
            np.array(onnx.numpy_helper.to_array(tensor), np.float32)
        )
        for tensor in graph.initializer
    }
