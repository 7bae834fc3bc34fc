"""People → lines of JSON, one person per line: for a first look, and for whatever reads nothing else."""

import json

import numpy as np

from refit_rt.axes import AXES
from refit_rt.stream.bridges.bodies import Bodies

PORT = 5570
SCHEMA = "refit_rt.person/1"


class JsonLines:
    """Encodes frames: a line of at most 1,400 bytes per person, so that it fits one network packet."""

    def __init__(self, frame: str = "gltf") -> None:
        """frame: axes and unit of places and rotations (refit_rt/axes.py)."""
        self._axes = AXES[frame]

    def __call__(self, bodies: Bodies) -> list[tuple[int, bytes]]:
        """The lines. Places have millimetres, or a tenth of a centimetre; quaternions x y z w are each joint's relative
        to its parent, and joint 0 is the body in the world."""
        people, lines = bodies.people, []
        digits = 3 if self._axes.units_per_m == 1 else 1
        places = np.round(self._axes.points(bodies.joints), digits)
        turns = np.round(self._axes.quaternions(bodies.rotations), 3) if len(people.ids) else []
        for row, person in enumerate(people.ids.tolist()):
            line = {
                "schema": SCHEMA,
                "frame": people.frame_index,
                "time_s": round(people.time_s, 3),
                "id": person,
                "confidence": round(float(people.confidence[row]), 2),
                "contacts": [round(float(one), 2) for one in people.contacts[row]],
                "axes": self._axes.name,
                "joints": places[row].ravel().tolist(),
                "turns": turns[row].ravel().tolist(),
            }
            lines.append((0, json.dumps(line, separators=(",", ":")).encode() + b"\n"))
        return lines
