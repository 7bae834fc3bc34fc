"""What viser's public functions do slowly or not at all, done with its inner ones.

Where another version of viser has other inner functions, its public ones take their place.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from refit_rt.addresses import OWN_PAGES

if TYPE_CHECKING:
    from viser import MeshSkinnedHandle, ViserServer

WINDOW = 10_000  # messages: a frame of a hundred people


@contextmanager
def own_pages_only() -> Iterator[None]:
    """Inside the block, a server of viser begins to let only pages of this machine connect, and programs that are no
    browsers. viser itself lets any page that a browser shows: one of the internet could watch the people."""
    from websockets.asyncio import server

    serve = server.serve
    server.serve = partial(serve, origins=[OWN_PAGES, None])  # type: ignore[misc]
    try:
        yield
    finally:
        server.serve = serve  # type: ignore[misc]


def whole_frames(server: "ViserServer") -> None:
    """Lets one window of viser's messages hold a frame of everybody.

    Each bone is two messages, and viser sends at most 128 in one window. To a browser that is slow, the rest of a frame
    then goes with a later one, and a body is torn between two poses. viser has no setting for it.
    """
    with suppress(AttributeError):
        server._websock_server._broadcast_buffer.max_window_size = WINDOW


class Inner(NamedTuple):
    """viser's inner functions for bones."""

    send: Callable[[Any], None]
    turn: Callable[[str, int, tuple], Any]  # a message, of the mesh's name, the bone and w x y z
    place: Callable[[str, int, tuple], Any]  # of the mesh's name, the bone and x y z


def inner_of(handle: "MeshSkinnedHandle") -> Inner | None:
    """The inner functions for a mesh; None: this viser has others."""
    try:
        from viser._messages import SetBoneOrientationMessage, SetBonePositionMessage

        inner = Inner(handle._impl.api._queue_scene_message, SetBoneOrientationMessage, SetBonePositionMessage)
        inner.turn("", 0, (1.0, 0.0, 0.0, 0.0))
        inner.place("", 0, (0.0, 0.0, 0.0))
    except (ImportError, AttributeError, TypeError):
        return None
    return inner


class Bones:
    """The bones of a skinned mesh, moved without the comparison with their last place that viser makes for each one.

    Three people, all bones: 1.7 ms instead of 12.3 ms (one core of a Xeon at 2.5 GHz).
    """

    def __init__(self, handle: "MeshSkinnedHandle") -> None:
        self._handle, self._inner = handle, inner_of(handle)

    def turn(self, bones: np.ndarray, wxyz: np.ndarray) -> None:
        """bones (n,) numbers; wxyz (24, 4) of all bones."""
        for bone in bones.tolist():
            if self._inner is None:
                self._handle.bones[bone].wxyz = wxyz[bone]
            else:
                self._handle.bones[bone].wxyz[:] = wxyz[bone]
                self._inner.send(self._inner.turn(self._handle.name, bone, tuple(wxyz[bone].tolist())))

    def move(self, bones: np.ndarray, places: np.ndarray) -> None:
        """bones (n,) numbers; places (24, 3) of all bones, metres."""
        for bone in bones.tolist():
            if self._inner is None:
                self._handle.bones[bone].position = places[bone]
            else:
                self._handle.bones[bone].position[:] = places[bone]
                self._inner.send(self._inner.place(self._handle.name, bone, tuple(places[bone].tolist())))
