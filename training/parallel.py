"""Training on several GPUs under torchrun: each process draws its own batches, and the gradients are averaged."""

import os
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from refit_rt.errors import UserError


@dataclass(frozen=True, slots=True)
class Place:
    """This process among all of them: its rank, their count, and its own device."""

    rank: int
    count: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0


def join(device: str) -> Place:
    """Joins the other processes that torchrun started, if there are any. Raises UserError if there is no such device.

    device: cpu, cuda or auto.
    """
    wanted = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise UserError(f"device: {device}: torch finds no GPU. Set `device: cpu`, or install a torch built for CUDA")
    count, rank = int(os.environ.get("WORLD_SIZE", "1")), int(os.environ.get("RANK", "0"))
    if wanted == "cuda":
        wanted = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
        torch.cuda.set_device(wanted)
    if count > 1:
        torch.distributed.init_process_group("nccl" if wanted.startswith("cuda") else "gloo")
    return Place(rank, count, torch.device(wanted))


def same_everywhere(net: nn.Module, place: Place) -> None:
    """Gives every process the weights of the first one."""
    if place.count > 1:
        for value in net.state_dict().values():
            torch.distributed.broadcast(value, 0)


def average_gradients(parameters: Iterable[Tensor], place: Place) -> None:
    """Averages all gradients in one message. A parameter without a gradient in a process counts as zero there."""
    if place.count == 1:
        return
    parameters = list(parameters)
    grads = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = torch.cat([grad.flatten() for grad in grads])
    torch.distributed.all_reduce(flat)
    flat /= place.count
    for p, grad in zip(parameters, flat.split([g.numel() for g in grads]), strict=True):
        p.grad = grad.view_as(p)


def agreed(value: float, place: Place) -> float:
    """Averages a value over all processes, so that all of them stop at the same step."""
    if place.count == 1:
        return value
    one = torch.tensor([value], device=place.device)
    torch.distributed.all_reduce(one)
    return float(one) / place.count


def leave() -> None:
    """Leaves the group of processes, if there is one."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
