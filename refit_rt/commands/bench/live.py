"""The whole pipeline: a 720p clip, played live at 60 frames per second, its stream measured by a second process."""

import importlib.util
import threading
import time
from pathlib import Path

import numpy as np

from refit_rt import config
from refit_rt.commands.bench.table import Table
from refit_rt.commands.demo_clip import CLIP
from refit_rt.errors import UserError
from refit_rt.live.interrupt import ended_by_signals
from refit_rt.pipeline import Pipeline
from refit_rt.stream.latency import LatencyProbe

SECONDS, FPS = 30.0, 60.0


def measure(address: str, detect: config.Detect, track: config.Track, fit: config.Fit, smooth: config.Smooth) -> Table:
    """Plays the bundled clip for SECONDS and publishes at the address. Raises UserError."""
    settings = config.Settings(
        capture=config.Capture(source=str(CLIP), pace="live", fps=FPS, loop=True),
        detect=detect,
        track=track,
        fit=fit,
        smooth=smooth,
        publish=config.Publish(address=address),
    )
    stop = threading.Event()
    memory_kb: list[int] = []
    with LatencyProbe(address) as probe, ended_by_signals(stop):
        pipeline = Pipeline(settings)
        watcher = threading.Thread(target=watch, args=(pipeline, stop, memory_kb), daemon=True)
        watcher.start()
        try:
            report = pipeline.run(stop)
        finally:
            stop.set()
            watcher.join()
        if len(memory_kb) < 3:
            raise UserError("bench live: ended before there was anything to measure. Let it run to its end")
    latency, third = probe.latency, max(1, len(memory_kb) // 3)
    grown_kb = np.median(memory_kb[-third:]) - np.median(memory_kb[third : 2 * third])
    rows = [[name, f"{p50:.2f} ms", f"{p95:.2f} ms", ""] for name, (p50, p95, _) in report.milliseconds.items()]
    rows += [
        ["capture to subscriber", *(f"{ms:.1f} ms" for ms in latency.age_ms)],
        ["messages per second", f"{latency.fps:.1f}", "", ""],
        ["frames dropped", f"{report.dropped} of {report.dropped + report.frames}", "", ""],
    ]
    if memory_kb[-1]:
        rows.append(["memory", f"{memory_kb[-1] / 1024:.0f} MB", "", ""])
        rows.append(["memory grown from the middle to the last third", f"{grown_kb / 1024:+.1f} MB", "", ""])
    return Table([f"720p at {FPS:.0f} frames per second for {latency.seconds:.0f} s", "median", "p95", "p99"], rows)


def watch(pipeline: Pipeline, stop: threading.Event, memory_kb: list[int]) -> None:
    """Ends the run SECONDS after its first message, and notes the resident memory once per second until then."""
    while not pipeline.frames and not stop.wait(0.1):
        pass
    end_s = time.monotonic() + SECONDS
    while time.monotonic() < end_s and not stop.wait(1):
        memory_kb.append(_resident_kb())
    stop.set()


def _resident_kb() -> int:
    """Of this process; 0 on Windows, where Python does not tell."""
    if importlib.util.find_spec("resource") is None:
        return 0
    import resource

    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        return pages * resource.getpagesize() // 1024
    except OSError:  # macOS: the most it ever was, in bytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
