"""OpenVINO, imported so that it reports to nobody: import it from here.

By itself, `import openvino` sends an event with a lasting id to an analytics service, through the package
openvino_telemetry, and keeps the id in the folder intel of the home. Where that package cannot be imported, OpenVINO
has an empty stand-in for it, which this process then uses to its end. It also saves 0.2 s of every start.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

TELEMETRY = "openvino_telemetry"


@contextmanager
def _cannot_be_imported(name: str) -> Iterator[None]:
    """Inside the block, `import name` raises ImportError."""
    modules: dict[str, Any] = sys.modules
    before = modules.get(name)
    modules[name] = None
    try:
        yield
    finally:
        if before is None:
            del modules[name]
        else:
            modules[name] = before


with _cannot_be_imported(TELEMETRY):
    import openvino as openvino
