"""The verb `demo`: the bundled clip as a camera, measured."""

from pathlib import Path

from refit_rt.commands.shared import Folder, say
from refit_rt.config import Detect, Fit, Publish, Smooth, Track


def demo(*, out: Folder = "out/demo", detect: Detect, track: Track, fit: Fit, smooth: Smooth, publish: Publish) -> int:
    """Play the bundled clip as a camera, and measure speed, delay and accuracy.

    A second process subscribes to the stream and measures the delay. The bodies are compared with the clip's truth.

    Args:
        out: Folder for overlay.png, overlay.mp4 and motion.npz.
    """
    from refit_rt.commands.demo_clip import play

    say(play(Path(out).expanduser(), publish.address, detect, track, fit, smooth))
    return 0
