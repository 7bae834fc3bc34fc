"""AdamW whose steps are in proportion to the weights where a network was trained without normalisation."""

# pyright: reportPrivateImportUsage=false
# torch keeps its operations on many tensors at once to itself; one by one, a step launches a thousand kernels more.
import torch
from torch import Tensor, nn


class ScaledAdamW(torch.optim.AdamW):
    """A group with `scales`, a tensor a parameter, moves by lr · scale · (Adam's direction). One with `anchors` also
    goes lr · `hold` of the way back to them at every step: weight decay, but towards weights that knew something.

    BlazePose has its batch-norm folded in: its weights are 0.004 in one layer and 10 in the next. One step size for all
    either ruins the first or never moves the second (measured: every term of the loss grew for six minutes).
    """

    @torch.no_grad()
    def step(self, closure=None):
        scaled = [group for group in self.param_groups if "scales" in group]
        before = [[p.clone() for p in group["params"]] for group in scaled]
        answer = super().step(closure)
        for group, olds in zip(scaled, before, strict=True):
            moved = torch._foreach_sub(group["params"], olds)
            torch._foreach_mul_(moved, group["scales"])
            torch._foreach_copy_(group["params"], torch._foreach_add(olds, moved))
            if "anchors" in group:
                nearer(group["params"], group["anchors"], group["lr"] * group["hold"])
        return answer

    def load_state_dict(self, state_dict) -> None:
        """As torch's, and scales and anchors go where the parameters are: torch moves only what it knows."""
        super().load_state_dict(state_dict)
        for group in self.param_groups:
            for name in ("scales", "anchors"):
                if name in group:
                    group[name] = [one.to(p.device) for one, p in zip(group[name], group["params"], strict=True)]


def nearer(tensors: list[Tensor], goals: list[Tensor], share: float) -> None:
    """Each tensor goes a share of the way to its goal."""
    torch._foreach_lerp_(tensors, goals, share)


def scale_of(parameter: Tensor) -> Tensor:
    """How large each number of a weight is about: of a matrix the product of its row's and its column's root mean
    square, over the whole's; of a bias or a depthwise kernel the row's alone. The shape broadcasts to the parameter's.
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
    """A group of ScaledAdamW: what of a module learns, `rate` of its own size a step at most, held to another of its
    kind (`anchor`) if that is given."""
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    group = {"params": [*named.values()], "share": rate, "weight_decay": 0.0}
    group["scales"] = [scale_of(p) for p in named.values()]
    if anchor is not None:
        known = dict(anchor.named_parameters())
        group |= {"hold": hold, "anchors": [known[name].detach().to(p.device) for name, p in named.items()]}
    return group
