"""Runs both engines: addresses, copies and sequences of launches; each sequence is recorded once and then replayed."""

from typing import Any

import numpy as np

from refit_rt.errors import UserError
from refit_rt.runners.tensorrt.build import BUILD_PLUGINS
from refit_rt.runners.tensorrt.cuda import CPU_INSTEAD, Cuda
from refit_rt.runners.tensorrt.engines import Engines
from refit_rt.runners.tensorrt.ports import Block
from refit_rt.types import State

Addresses = dict[str, int]


class EncoderOnGpu:
    """crop → maps, which stay on the GPU, and the encoder's other outputs."""

    def __init__(self, cuda: Cuda, engines: Engines) -> None:
        plan = engines.plan
        self._cuda, self._engines = cuda, engines
        self._block = Block(cuda, [plan.crop, *plan.fresh])
        self._maps = cuda.memory(plan.maps.bytes)
        self.maps_address = self._maps.address
        self._last = len(plan.fresh)
        self._addresses = {port.name: self._block.address(place) for place, port in enumerate(self._block.ports)}
        self._addresses["maps"] = self.maps_address
        self._context = new_context(engines.encoder)
        self._replay = cuda.recorded(self._work)

    def _work(self) -> None:
        self._block.upload(0, 0)
        run(self._context, self._addresses, self._cuda.stream, self._engines)
        self._block.download(1, self._last)

    def __call__(self, crop: np.ndarray) -> dict[str, np.ndarray]:
        """crop (S, S, 3) uint8 RGB → hidden (26, H), keypoints (33, 4), as new arrays."""
        self._block.given(0)[0] = crop
        self._replay()
        self._cuda.wait()
        return {port.name: self._block.answer(place)[0].copy() for place, port in enumerate(self._block.ports) if place}


class StepOnGpu:
    """The loop. The GPU holds the state twice: an iteration reads one side and writes the other, in turn."""

    def __init__(self, cuda: Cuda, engines: Engines, maps_address: int) -> None:
        plan = engines.plan
        self._cuda, self._engines, self._maps = cuda, engines, maps_address
        self._block = Block(cuda, [*plan.place, *plan.state, *plan.state])
        self._places = {port.name: place for place, port in enumerate(plan.place)}
        self._sides = (len(plan.place), len(plan.place) + len(plan.state))  # index of each side's first port
        self._names = [port.name for port in plan.state]
        self._replays: dict[tuple[int, int, bool], Any] = {}
        self._contexts: list[Any] = []
        self._side, self._sent = 0, False

    def begin(self, state: State, place: dict[str, np.ndarray]) -> None:
        """Starts the loop with hidden states at zero. place: view (6,), box (3,), keypoints (33, 4) if any."""
        for name, array in place.items():
            self._block.given(self._places[name])[0] = array
        given = {"hidden": 0, "pose6d": state.pose6d, "betas": state.betas, "cam": state.cam}
        for offset, name in enumerate(self._names):
            self._block.given(self._sides[0] + offset)[0] = given[name]
        self._side, self._sent = 0, False

    def advance(self, count: int) -> None:
        """Runs `count` iterations and waits for them. Only the first call after `begin` may run more than one."""
        assert count == 1 or not self._sent
        way = (count, self._side, not self._sent)
        self.prepare(*way)
        self._replays[way]()
        self._cuda.wait()
        self._side, self._sent = (self._side + count) % 2, True

    def prepare(self, count: int, side: int, send: bool) -> None:
        """Records a launch sequence if it is new: `count` iterations from one side of the state, after an upload of the
        inputs if `send` is set.

        Each recording has a context of its own, because it keeps using the context's memory.
        """
        if (count, side, send) in self._replays:
            return
        context = new_context(self._engines.step)
        self._contexts.append(context)

        def work() -> None:
            if send:
                self._block.upload(0, self._sides[1] - 1)
            for turn in range(count):
                run(context, self._addresses((side + turn) % 2), self._cuda.stream, self._engines)
            self._block.download(self._sides[0], len(self._block.ports) - 1)

        self._replays[count, side, send] = self._cuda.recorded(work)

    def now(self) -> dict[str, np.ndarray]:
        """The state after the last iteration: hidden (26, H), pose6d (144,), betas (10,), cam (3,) float32."""
        return self._read(self._side)

    def before(self) -> dict[str, np.ndarray]:
        """The state before the last iteration."""
        return self._read(1 - self._side)

    def _read(self, side: int) -> dict[str, np.ndarray]:
        return {
            name: self._block.answer(self._sides[side] + offset)[0].astype(np.float32)
            for offset, name in enumerate(self._names)
        }

    def _addresses(self, side: int) -> Addresses:
        addresses = {name: self._block.address(place) for name, place in self._places.items()}
        for offset, name in enumerate(self._names):
            addresses[name] = self._block.address(self._sides[side] + offset)
            addresses[f"{name}_next"] = self._block.address(self._sides[1 - side] + offset)
        return addresses | {"maps": self._maps}


def new_context(engine: Any) -> Any:
    context = engine.create_execution_context()
    if context is None:
        raise UserError("TensorRT: the GPU has no memory left for an engine. Close other programs on it (nvidia-smi)")
    return context


def run(context: Any, addresses: Addresses, stream: int, engines: Engines) -> None:
    """Queues one run of an engine. Raises UserError."""
    for name, address in addresses.items():
        context.set_tensor_address(name, address)
    if not context.execute_async_v3(stream):
        cure = BUILD_PLUGINS if engines.uses_plugins else f"See refit-rt doctor, {CPU_INSTEAD}"
        raise UserError(f"TensorRT: an engine does not run ({engines.rt.why}). {cure}")
