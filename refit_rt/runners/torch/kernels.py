"""The loop as two CUDA launches per iteration on torch tensors; iterations are replayed as one CUDA graph."""

import logging

import numpy as np
import torch
from torch import Tensor

from refit_rt.bundle.read import Bundle
from refit_rt.errors import UserError
from refit_rt.model.camera import View, box_features
from refit_rt.model.config import HEADS, KEYPOINTS
from refit_rt.model.update import State
from refit_rt.runners.plugin_constants import feedback_constants, gru_constants
from refit_rt.runners.torch.cuda_ops import FeedbackSizes, Kernels, compiled_kernels

log = logging.getLogger(__name__)


def kernels_for(device: str) -> Kernels | None:
    """The kernels for a torch device, compiled if necessary. If that fails it logs a warning and returns None."""
    if not device.startswith("cuda"):
        return None
    try:
        return Kernels(compiled_kernels(torch.cuda.get_device_capability(device)))
    except UserError as error:
        log.warning("the loop runs in plain torch: %s", error)
        return None


class KernelLoop:
    """The constants, and the workspace for a number of persons. It must not be used by two threads at once.

    State and hidden states are held twice: an iteration reads one side and writes the other, and the next iteration
    goes the opposite way. On a GPU each number of iterations is recorded once per starting side and then replayed.
    Kernels that are compiled for the CPU take device "cpu"; nothing is recorded for them.
    """

    def __init__(
        self, bundle: Bundle, kernels: Kernels, persons: int = 1, half: bool = True, device: str = "cuda"
    ) -> None:
        """half: maps, features, hidden states and weights are float16; sums and the state are always float32."""
        self._kernels, self._half, self._floor = kernels, half, bundle.card.scale_floor
        kind, numpy_kind = (torch.float16, np.float16) if half else (torch.float32, np.float32)
        constants = feedback_constants(bundle, numpy_kind)
        self._feedback = [torch.tensor(array, device=device) for array in constants.values()]
        self._gru = [torch.tensor(array, device=device) for array in gru_constants(bundle, numpy_kind).values()]
        self._sizes = kernel_sizes(bundle, constants, persons)

        def room(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.zeros(persons, *shape, dtype=dtype, device=device)

        self._maps = room(self._sizes.markers, self._sizes.height, self._sizes.width, dtype=kind)
        self._keypoints = room(KEYPOINTS, 4) if bundle.sizes.keypoints else None
        self._view, self._box = room(6), room(3)
        self._local = room(self._sizes.local, dtype=kind)
        hidden = self._gru[2].shape[2]
        self._states = [State(room(144), room(10), room(3)) for _ in range(2)]
        self._hidden = [room(HEADS, hidden, dtype=kind) for _ in range(2)]
        self._side = 0
        self._recorded: dict[tuple[int, int], torch.cuda.CUDAGraph] = {}

    @property
    def state(self) -> State:
        """The current state. The second iteration from here overwrites it."""
        return self._states[self._side]

    @property
    def before(self) -> State:
        """The state one iteration ago."""
        return self._states[1 - self._side]

    @property
    def hidden(self) -> Tensor:
        """(persons, 26, H), the current hidden states."""
        return self._hidden[self._side]

    def begin(self, maps: Tensor, keypoints: Tensor | None, view: View, state: State) -> None:
        """Starts the loop with hidden states at zero. Shapes are as in refit_rt.model.refit; all arrays are copied."""
        self._side = 0
        self._maps.copy_(maps)
        if self._keypoints is not None and keypoints is not None:
            self._keypoints.copy_(keypoints)
        self._view.copy_(torch.cat([view.square, view.focal_px[:, None], view.centre_px], dim=1))
        self._box.copy_(box_features(view))
        for place, part in zip(self._states[0], state, strict=True):
            place.copy_(part)
        self._hidden[0].zero_()

    def advance(self, iterations: int) -> None:
        """Queues a number of iterations and does not wait for them."""
        if not self._maps.is_cuda:
            self.launch(iterations)
        elif iterations:
            self._recording(iterations).replay()
        self._side = (self._side + iterations) % 2

    def launch(self, iterations: int) -> None:
        """Launches a number of iterations one by one on torch's current stream; the current side does not change."""
        for done in range(iterations):
            self.launch_feedback((self._side + done) % 2)
            self.launch_update((self._side + done) % 2)

    def launch_feedback(self, side: int = 0) -> None:
        """State of one side → local features."""
        seen = [] if self._keypoints is None else [self._keypoints, *self._feedback[9:]]
        inputs = [self._maps, *self._states[side], self._view, *self._feedback[:9], *seen]
        self._kernels.feedback(addresses(inputs), self._local.data_ptr(), self._sizes, self._half, self._stream())

    def launch_update(self, side: int = 0) -> None:
        """Local features and the state of one side → hidden states and state of the other side."""
        inputs = [self._hidden[side], self._local, self._box, *self._states[side], *self._gru]
        outputs = [self._hidden[1 - side], *self._states[1 - side]]
        sizes = (self._sizes.persons, self._sizes.local)
        self._kernels.batched_gru(
            addresses(inputs), addresses(outputs), *sizes, self._floor, self._half, self._stream()
        )

    def _stream(self) -> int:
        return torch.cuda.current_stream().cuda_stream if self._maps.is_cuda else 0

    @property
    def weight_bytes(self) -> int:
        """Size of the constants that an iteration reads in addition to its inputs."""
        return sum(array.nbytes for array in (*self._feedback, *self._gru))

    def _recording(self, iterations: int) -> torch.cuda.CUDAGraph:
        key = (self._side, iterations)
        if key not in self._recorded:
            kept = [part.clone() for part in (*self._states[0], *self._states[1], *self._hidden)]
            self.launch(iterations)  # a kernel's first launch loads it, which cannot be recorded
            torch.cuda.synchronize()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.launch(iterations)
            for part, old in zip((*self._states[0], *self._states[1], *self._hidden), kept, strict=True):
                part.copy_(old)
            self._recorded[key] = graph
        return self._recorded[key]


def kernel_sizes(bundle: Bundle, constants: dict[str, np.ndarray], persons: int) -> FeedbackSizes:
    """The sizes for the Feedback kernel. constants: the arrays that it receives."""
    sizes = bundle.sizes
    return FeedbackSizes(
        persons=persons,
        markers=sizes.markers,
        height=sizes.map_cells,
        width=sizes.map_cells,
        local=sizes.local,
        flow=sizes.flow,
        radius=sizes.radius,
        pose_rows=len(constants["pose_columns"]),
        hidden=len(constants["first_bias"]) if sizes.keypoints else 0,
        crop_px=sizes.crop_px,
    )


def addresses(tensors: list[Tensor]) -> list[int]:
    return [tensor.data_ptr() for tensor in tensors]
