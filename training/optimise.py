"""AdamW with steps in proportion to the weights, for a network without normalisation layers."""

# pyright: reportPrivateImportUsage=false
# torch's operations on many tensors at once are private. With one operation per tensor, a step launches a thousand more
# kernels.
import torch
from torch import Tensor, nn


class ScaledAdamW(torch.optim.AdamW):
    """AdamW in which a group with `scales`, one tensor per parameter, moves by lr · scale · (Adam's direction).

    A group with `anchors` also moves lr · `hold` of the way back to them at every step: weight decay towards pretrained
    weights. BlazePose's batch norm is folded in, so its weights are 0.004 in one layer and 10 in the next. One step
    size for all layers either ruins the first or never moves the second: with plain AdamW, every term of the loss grows
    for six minutes.
    """

    @torch.no_grad()
    def step(self, closure=None):
        scaled = [group for group in self.param_groups if "scales" in group]
        before = [[p.clone() for p in group["params"]] for group in scaled]
        loss = super().step(closure)
        for group, olds in zip(scaled, before, strict=True):
            moved = torch._foreach_sub(group["params"], olds)
            torch._foreach_mul_(moved, group["scales"])
            torch._foreach_copy_(group["params"], torch._foreach_add(olds, moved))
            if "anchors" in group:
                nearer(group["params"], group["anchors"], group["lr"] * group["hold"])
        return loss

    def load_state_dict(self, state_dict) -> None:
        """Loads a state as torch does, and moves scales and anchors, which torch does not know, to the parameters'
        device."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            for name in ("scales", "anchors"):
                if name in group:
                    group[name] = [one.to(p.device) for one, p in zip(group[name], group["params"], strict=True)]


def nearer(tensors: list[Tensor], goals: list[Tensor], share: float) -> None:
    """Moves each tensor a share of the way to its goal, in place."""
    torch._foreach_lerp_(tensors, goals, share)


def scale_of(parameter: Tensor) -> Tensor:
    """Estimates the size of each number of a weight. The result broadcasts to the parameter's shape.

    For a matrix it is the product of the row's and the column's root mean square, divided by that of all numbers. For a
    depthwise kernel it is the row's root mean square, for a bias that of all numbers.
    """
    with torch.no_grad():
        whole = parameter.square().mean().sqrt().clamp(min=1e-8)
        if parameter.dim() < 2:
            return whole.expand(1).clone()
        rows = parameter.flatten(1).square().mean(1).sqrt().view(-1, *[1] * (parameter.dim() - 1))
        if parameter.shape[1] == 1:
            return rows.clamp(min=1e-2 * float(whole)).clone()
        columns = parameter.transpose(0, 1).flatten(1).square().mean(1).sqrt()
        columns = columns.view(1, -1, *[1] * (parameter.dim() - 2))
        return (rows * columns / whole).clamp(min=1e-2 * float(whole))


def group_of(module: nn.Module, rate: float, hold: float = 0.0, anchor: nn.Module | None = None) -> dict:
    """Makes a group of ScaledAdamW of the parameters of a module that learn. A step changes each by at most `rate` of
    its own size. If `anchor`, a module of the same kind, is given, they are held to its weights."""
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    group = {"params": [*named.values()], "share": rate, "weight_decay": 0.0}
    group["scales"] = [scale_of(p) for p in named.values()]
    if anchor is not None:
        known = dict(anchor.named_parameters())
        group |= {"hold": hold, "anchors": [known[name].detach().to(p.device) for name, p in named.items()]}
    return group
