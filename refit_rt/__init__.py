"""Video in, SMPL bodies out, live.

    import refit_rt

    follower = refit_rt.load()                     # or load(settings), load(bundle=..., body=...)
    people = follower.follow(image_bgr)            # a picture, or frame after frame of a clip
    for message in refit_rt.listen():              # always the newest message
        print(message.people.trans)

`Settings` are the ones of config.yaml. `People` are the bodies of one frame, as arrays; `Body` turns a pose into joints
and vertices; `Camera` and `Rig` are calibrated lenses. docs/examples has a page for each use.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refit_rt.body.smpl import Body, load_body
    from refit_rt.cameras import Camera, Rig, read_rig, write_rig
    from refit_rt.config import Settings
    from refit_rt.errors import UserError
    from refit_rt.follow import Follower, load
    from refit_rt.motion.npz import Motion, read_motion
    from refit_rt.stream.subscribe import listen
    from refit_rt.stream.wire import Message
    from refit_rt.types import Frame, People

__version__ = "0.1.0"
__all__ = [
    "Body", "Camera", "Follower", "Frame", "Message", "Motion", "People", "Rig", "Settings", "UserError",
    "listen", "load", "load_body", "read_motion", "read_rig", "write_rig",
]  # fmt: skip

_HOMES = {
    "body.smpl": ("Body", "load_body"),
    "cameras": ("Camera", "Rig", "read_rig", "write_rig"),
    "config": ("Settings",),
    "errors": ("UserError",),
    "follow": ("Follower", "load"),
    "motion.npz": ("Motion", "read_motion"),
    "stream.subscribe": ("listen",),
    "stream.wire": ("Message",),
    "types": ("Frame", "People"),
}


def __getattr__(name: str) -> Any:
    """Imports what is asked for, when it is asked for: `import refit_rt` alone costs nothing."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"refit_rt.{home}"), name)
    raise AttributeError(f"module 'refit_rt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
