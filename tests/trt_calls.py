"""The kernels of trt_plugins/ called on torch tensors, on the CPU through the shim or on a GPU, and their twin's answers.

Inputs lie between fences of NaN: what is read beside an array spoils the answer, what is written beside one is seen.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from refit_rt.model.config import ReFitConfig
from refit_rt.model.update import Regressor, State, Update
from refit_rt.runners.cuda_ops import Kernels

FENCE = 64  # numbers


@dataclass(frozen=True)
class Fenced:
    """A tensor in the middle of a larger one."""

    whole: Tensor
    inner: Tensor

    def is_whole(self) -> bool:
        """Nothing was written beside."""
        rims = torch.cat([self.whole[:FENCE], self.whole[-FENCE:]])
        return bool((rims.isnan() if rims.is_floating_point() else rims == POISON).all())


POISON = 2**30 + 7


def fenced(tensor: Tensor, poisoned: bool = False) -> Fenced:
    """A copy between fences; poisoned: of the size alone, full of NaN."""
    poison = float("nan") if tensor.is_floating_point() else POISON
    room = -tensor.numel() % FENCE  # what follows starts aligned, too
    whole = torch.full((tensor.numel() + room + 2 * FENCE,), poison, dtype=tensor.dtype, device=tensor.device)
    inner = whole[FENCE : FENCE + tensor.numel()].view(tensor.shape)
    if not poisoned:
        inner.copy_(tensor)
    return Fenced(whole, inner)


@dataclass(frozen=True)
class GruCase:
    """One call of batched_gru, its arrays on the way in and what the twin makes of them in double precision."""

    inputs: list[Fenced]
    outputs: list[Fenced]
    truth: list[Tensor]
    persons: int
    local: int
    scale_floor: float | None
    half: bool

    def run(self, kernels: Kernels, stream: int = 0) -> list[Tensor]:
        """Poisons the outputs, calls, checks the fences."""
        self.poison()
        kernels.batched_gru(*self.addresses(), self.persons, self.local, self.scale_floor, self.half, stream)
        return self.answers()

    def addresses(self) -> tuple[list[int], list[int]]:
        return [a.inner.data_ptr() for a in self.inputs], [a.inner.data_ptr() for a in self.outputs]

    def poison(self) -> None:
        for output in self.outputs:
            output.whole.fill_(float("nan"))

    def answers(self) -> list[Tensor]:
        assert all(array.is_whole() for array in [*self.inputs, *self.outputs]), "written beside an array"
        return [output.inner.double().cpu() for output in self.outputs]


def gru_case(
    persons: int,
    half: bool = False,
    local: int = 256,
    scale_floor: float | None = 0.15,
    seed: int = 0,
    device: str = "cpu",
) -> GruCase:
    """Random weights, features and state."""
    torch.manual_seed(seed)
    update, regressor = Update(ReFitConfig(local=local)), Regressor(32)
    with torch.no_grad():
        for weight in [*update.parameters(), *regressor.parameters()]:
            weight.mul_(2).add_(0.02 * torch.randn_like(weight))  # gates that open and close
            weight.copy_(rounded(weight, half))
    hidden, seen = (rounded(0.7 * torch.randn(persons, *shape), half) for shape in ((26, 32), (local,)))
    state = State(torch.randn(persons, 144), torch.randn(persons, 10), 0.3 + 0.3 * torch.randn(persons, 3))
    box = torch.randn(persons, 3)
    truth = twin(update.double(), regressor.double(), hidden, seen, box, state, scale_floor)
    weights = [
        *(update.gru.from_input.weight, update.gru.from_input.bias, update.gru.from_hidden),
        *(part for layer in regressor.children() for part in (layer.weight, layer.bias)),
    ]
    kind = torch.float16 if half else torch.float32
    arrays = [hidden.to(kind), seen.to(kind), box, *state, *(weight.detach().to(kind) for weight in weights)]
    outputs = [hidden.to(kind), *state]
    return GruCase(
        [fenced(array.to(device)) for array in arrays],
        [fenced(array.to(device), poisoned=True) for array in outputs],
        truth,
        persons,
        local,
        scale_floor,
        half,
    )


def rounded(numbers: Tensor, half: bool) -> Tensor:
    return numbers.half().float() if half else numbers


@torch.no_grad()
def twin(
    update: Update, regressor: Regressor, hidden: Tensor, local: Tensor, box: Tensor, state: State, floor: float | None
) -> list[Tensor]:
    """What `refit_rt/model/update.py` makes of the same numbers."""
    wide = State(*(part.double() for part in state))
    new = update(hidden.double(), local.double(), box.double(), wide)
    return [new, *wide.plus(regressor(new, box.double()), floor)]
