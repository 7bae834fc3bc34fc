"""The verb `demo`: the bundled clip as a camera, or the bundled films as a studio, measured."""

from pathlib import Path

from refit_rt.commands.shared import Folder, say
from refit_rt.config import Detect, Fit, Publish, Smooth, Track


def demo(
    *,
    studio: bool = False,
    out: Folder = "",
    detect: Detect,
    track: Track,
    fit: Fit,
    smooth: Smooth,
    publish: Publish,
    quiet: bool = False,
    json: bool = False,
) -> int:
    """Play the bundled clip as a camera, and measure speed, delay and accuracy.

    A second process subscribes to the stream and measures the delay. The bodies are compared with the clip's truth.

    Args:
        studio: Instead, follow three people in four bundled films of one room, each frame in all views at once, and
            draw studio.png: the cameras, the people in the room, and the four views. It takes one to two minutes.
        out: Folder for the pictures, overlay.mp4 and motion.npz. Otherwise it is out/demo, or out/demo_studio.
        quiet: Print nothing while it runs.
        json: Print one JSON object per line, for programs: one per second while it runs, and the figures.
    """
    from refit_rt.commands.shown import say_json, shown

    show, folder = shown(quiet, json), Path(out or ("out/demo_studio" if studio else "out/demo")).expanduser()
    if studio:
        from refit_rt.commands import demo_studio

        played = demo_studio.play(folder, detect, track, fit, smooth, publish, show)
    else:
        from refit_rt.commands import demo_clip

        played = demo_clip.play(folder, publish.address, detect, track, fit, smooth, show)
    if json:
        say_json("report", played.numbers)
    else:
        say(played.text)
    return 0
