"""What verbs share: the kinds of their arguments, printing, quiet libraries, and the hint for a missing torch."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

from tyro.conf import arg

from refit_rt.errors import UserError
from refit_rt.terminal import LINE, LogHandler

File = Annotated[str, arg(metavar="FILE")]
Folder = Annotated[str, arg(metavar="DIR")]


def say(text: str) -> None:
    """Prints at once, also into a pipe."""
    with LINE.hidden():
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def quiet_libraries() -> None:
    """Only refit_rt logs what it does: OpenCV and FFMPEG would repeat it. To be called before cv2 is imported."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", handlers=[LogHandler()])
    logging.getLogger("refit_rt").setLevel(logging.INFO)
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    # On Windows, many webcams take half a minute to open with it.
    os.environ.setdefault("OPENCV_VIDEOIO_MSMF_ENABLE_HW_TRANSFORMS", "0")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


@contextmanager
def torch_needed() -> Iterator[None]:
    """A missing package of the train extra, torch above all, becomes a UserError."""
    try:
        yield
    except ImportError as error:
        raise UserError(f"this needs {error.name}. Install it: pip install 'refit-rt[train]'") from error
