"""Measurements: the loop against the official way, the encoder by precision, the whole pipeline live."""

import logging
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np

from refit_rt import config
from refit_rt.bundle.read import Bundle, find_bundle, load_bundle
from refit_rt.commands.demo import CLIP
from refit_rt.errors import UserError
from refit_rt.live.interrupt import ended_by_signals
from refit_rt.pipeline import Pipeline
from refit_rt.stream.latency import Audience

log = logging.getLogger(__name__)

What = Literal["loop", "encoder", "live"]
ROUNDS = 15  # alternated, so that a busy moment meets every contestant
BLOCK = 5  # calls in a row, so that each finds its own data in the cache, as the second of two iterations does
LIVE_SECONDS, LIVE_FPS = 30.0, 60.0


def main(settings: config.Config, what: What) -> str:
    """The table of one measurement. Raises UserError."""
    return {"loop": loop, "encoder": encoder, "live": live}[what](settings)


def medians_ms(contestants: dict[str, Callable[[], object]], rounds: int = ROUNDS) -> dict[str, float]:
    """Median wall time of each, called in turns of a few; three calls before do not count."""
    for call in contestants.values():
        for _ in range(3):
            call()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():
            for _ in range(BLOCK):
                began = time.perf_counter()
                call()
                times[name].append((time.perf_counter() - began) * 1e3)
    return {name: float(np.median(values)) for name, values in times.items()}


def loop(settings: config.Config) -> str:
    """One iteration: torch as the official code does it (the whole mesh each time), torch at the markers, and numba."""
    try:
        import torch
    except ImportError as error:
        raise UserError("bench loop compares with torch: pip install 'refit-rt[train]'") from error
    from refit_rt.commands.bench.loop import contestants

    torch.set_num_threads(1)
    iterations = 5
    medians = medians_ms(contestants(iterations))
    slowest = next(iter(medians.values()))
    lines = [f"{'one iteration, batch 1, one thread':<44}{'µs':>9}{'ratio':>8}"]
    lines += [f"{name:<44}{1e3 * ms / iterations:>9.1f}{slowest / ms:>8.1f}" for name, ms in medians.items()]
    return "\n".join(lines)


def encoder(settings: config.Config) -> str:
    """The bundle's encoder in every precision that it and this processor have, beside the official HRNet-W48."""
    import openvino

    from refit_rt.runners.cpu.encoder import OpenVinoEncoder, has_bf16

    bundle = load_bundle(find_bundle(settings.fit.bundle))
    threads = settings.fit.threads
    floats = ["f32", "bf16"] if has_bf16(openvino.Core()) else ["f32"]
    encoders = {name: _encoder_or_none(OpenVinoEncoder, bundle, name, threads) for name in (*floats, "int8")}
    with tempfile.TemporaryDirectory() as folder:
        official = official_bundle(Path(folder) / "w48")
        for name in floats:
            made = None if official is None else _encoder_or_none(OpenVinoEncoder, official, name, threads)
            encoders[f"official HRNet-W48, {name}"] = made
        crop = np.random.default_rng(0).integers(0, 255, (bundle.crop.size_px,) * 2 + (3,), np.uint8)
        medians = medians_ms({name: lambda e=one: e(crop) for name, one in encoders.items() if one is not None}, 10)
    lines = [f"{'encoder of ' + bundle.card.name:<28}{'ms':>8}{'ratio':>8}"]
    lines += [f"{name:<28}{ms:>8.2f}{medians['f32'] / ms:>8.2f}" for name, ms in medians.items()]
    return "\n".join(lines)


def official_bundle(folder: Path) -> Bundle | None:
    """The official network with random weights, for its time depends on none; None without torch."""
    try:
        from refit_rt.body.smpl import load_body
        from refit_rt.bundle.make import Facts, export_bundle
        from refit_rt.model.config import ReFitConfig
        from refit_rt.model.refit import build
    except ImportError:
        log.info("the official encoder is compared where torch is: pip install 'refit-rt[train]'")
        return None
    export_bundle(build(ReFitConfig(), load_body()), folder, Facts("official", "none"))
    return load_bundle(folder)


def _encoder_or_none(make: Callable, bundle: Bundle, precision: str, threads: int) -> Callable | None:
    try:
        return make(bundle, precision, threads)
    except UserError as error:
        log.info("%s", error)
        return None


def live(settings: config.Config) -> str:
    """The bundled clip at 60 frames a second, played live for half a minute; heard by a second process."""
    replace = msgspec.structs.replace
    settings = replace(
        settings,
        capture=replace(settings.capture, source=str(CLIP), pace="live", fps=LIVE_FPS, loop=True),
        camera=replace(settings.camera, calibration=""),
        publish=replace(settings.publish, enabled=True),
        out=config.Out(),
    )
    stop = threading.Event()
    memory: list[int] = []
    with Audience(settings.publish.address) as audience, ended_by_signals(stop):
        pipeline = Pipeline(settings)
        watcher = threading.Thread(target=_watch, args=(pipeline, stop, memory), daemon=True)
        watcher.start()
        try:
            report = pipeline.run(stop)
        finally:
            stop.set()
            watcher.join()
        if len(memory) < 3:
            raise UserError("bench live: ended before there was anything to measure. Let it run to its end")
    heard = audience.heard
    assert heard is not None
    p50, p95, p99 = heard.age_ms
    third = max(1, len(memory) // 3)
    grown = (np.median(memory[-third:]) - np.median(memory[third : 2 * third])) / 1024
    return "\n".join([
        report.table(),
        f"720p at {LIVE_FPS:.0f} frames a second for {heard.seconds:.0f} s: {heard.fps:.1f} messages a second",
        f"capture to subscriber: {p50:.1f} ms median, {p95:.1f} ms p95, {p99:.1f} ms p99",
        f"memory: {memory[-1] / 1024:.0f} MB, {grown:+.1f} MB from the middle to the last third",
    ])  # fmt: skip


def _watch(pipeline: Pipeline, stop: threading.Event, memory: list[int]) -> None:
    """Ends the run LIVE_SECONDS after its first message; notes the resident memory in kB every second of it."""
    while not pipeline.frames and not stop.wait(0.1):
        pass
    end_s = time.monotonic() + LIVE_SECONDS
    while time.monotonic() < end_s and not stop.wait(1):
        memory.append(_resident_kb())
    stop.set()


def _resident_kb() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * resource.getpagesize() // 1024
    except OSError:  # not Linux: the most it ever was
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
