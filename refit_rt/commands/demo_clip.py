"""The bundled clip, played as a camera: its stream measured by a second process, its bodies compared with the truth."""

import logging
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np

from refit_rt import config
from refit_rt.body.smpl import Body
from refit_rt.bundle.read import find_bundle, load_bundle
from refit_rt.commands.shown import Played
from refit_rt.draw.overlay import Overlay, contact_sheet
from refit_rt.draw.video import OverlayWriter
from refit_rt.errors import UserError
from refit_rt.files import ASSETS
from refit_rt.motion.npz import Motion, read_motion
from refit_rt.pipeline import run
from refit_rt.sender import Report
from refit_rt.stream.latency import Latency, LatencyProbe
from refit_rt.types import Frame
from refit_rt.watch import Show

log = logging.getLogger(__name__)

CLIP = ASSETS / "demo" / "demo.mp4"
TRUTH = CLIP.with_name("demo_truth.npz")
MOMENTS = 8
FILES = ("motion.npz", "overlay.mp4", "overlay.png")


@dataclass(frozen=True, slots=True)
class Errors:
    """Errors against the truth of the clip, over the frames that were published."""

    frames: int
    mpjpe_mm: float  # pelvis as origin
    pa_mpjpe_mm: float  # after the best similarity
    pixels: float  # mean distance of projected joints
    of_height: float  # the same, as a share of the person's height in the image


def play(
    folder: Path,
    address: str,
    detect: config.Detect,
    track: config.Track,
    fit: config.Fit,
    smooth: config.Smooth,
    show: Show | None = None,
) -> Played:
    """Plays the clip, publishes at the address, writes FILES to the folder. show: shows the progress; None: the log
    does. Raises UserError."""
    for name in FILES:  # an earlier run's files must not pass for this one's
        (folder / name).unlink(missing_ok=True)
    settings = config.Settings(
        capture=config.Capture(source=str(CLIP), pace="live"),
        camera=config.Camera(focal_px=float(np.load(TRUTH)["focal_px"])),
        detect=detect,
        track=track,
        fit=fit,
        smooth=smooth,
        publish=config.Publish(address=address),
        out=config.Out(dir=str(folder), overlay=False),
    )
    with LatencyProbe(address) as probe:
        report = run(settings, show=show)
        if not report.frames:
            raise UserError("the demo was ended before its first frame. Let it run: it takes half a minute")
    motion = read_motion(folder / "motion.npz")
    if not len(motion.frame):
        raise UserError("the demo found no person in its clip. Run it with the default settings, or longer")
    log.info("drawing %s", folder / "overlay.mp4")
    draw_clip(motion, folder, load_bundle(find_bundle(fit.bundle), fit.body).body)
    errors = errors_of(motion, read_motion(TRUTH))
    numbers = {"run": report.fields(), "latency": asdict(probe.latency), "errors": asdict(errors)}
    return Played(table(report, probe.latency, errors, folder), numbers | {"folder": str(folder), "files": FILES})


def table(report: Report, latency: Latency, errors: Errors, folder: Path) -> str:
    """The speed, the delay, the accuracy and the files of a run."""
    p50, p95, p99 = latency.age_ms
    return "\n".join([
        report.table(),
        f"received by a second process: {latency.messages} messages, {latency.fps:.1f} per second",
        f"capture to subscriber: {p50:.1f} ms median, {p95:.1f} ms p95, {p99:.1f} ms p99",
        f"against the truth ({errors.frames} frames): "
        f"MPJPE {errors.mpjpe_mm:.0f} mm aligned at the pelvis, PA-MPJPE {errors.pa_mpjpe_mm:.0f} mm, "
        f"joints {errors.pixels:.1f} px off ({100 * errors.of_height:.1f} % of the height)",
        f"look at {folder / 'overlay.png'} and {folder / 'overlay.mp4'}; the motion is in {folder / 'motion.npz'}",
    ])  # fmt: skip


def errors_of(motion: Motion, truth: Motion) -> Errors:
    """Compares the recording of one person with its truth, frame by frame."""
    rows = {int(frame): row for row, frame in enumerate(truth.frame)}
    pairs = [(row, rows[int(frame)]) for row, frame in enumerate(motion.frame) if int(frame) in rows]
    if not pairs:
        return Errors(0, np.nan, np.nan, np.nan, np.nan)
    mine, theirs = np.array(pairs).T
    joints, true = motion.joints_camera[mine], truth.joints_camera[theirs]
    off = np.linalg.norm((joints - joints[:, :1]) - (true - true[:, :1]), axis=-1).mean()
    aligned = np.mean([procrustes_error(a, b) for a, b in zip(joints, true, strict=True)])
    pixels = np.linalg.norm(motion.joints_px[mine] - truth.joints_px[theirs], axis=-1).mean(1)
    height = np.ptp(truth.joints_px[theirs][..., 1], axis=1)
    return Errors(len(mine), 1e3 * off, 1e3 * float(aligned), pixels.mean(), float((pixels / height).mean()))


def procrustes_error(points: np.ndarray, truth: np.ndarray) -> float:
    """Mean distance of (n, 3) points from their truth after the best similarity transform (Gower 1975)."""
    a, b = points - points.mean(0), truth - truth.mean(0)
    u, s, v = np.linalg.svd(a.T @ b)
    mirror = np.diag([1, 1, np.sign(np.linalg.det(u @ v))])
    scale = np.trace(np.diag(s) @ mirror) / (a**2).sum()
    return float(np.linalg.norm(scale * a @ u @ mirror @ v - b, axis=1).mean())


def draw_clip(motion: Motion, folder: Path, body: Body) -> None:
    """Writes overlay.mp4, the fitted mesh drawn over the clip, and overlay.png, eight moments of it."""
    writer = OverlayWriter(folder / "overlay.mp4", motion.fps, lambda size: Overlay(body, size).draw)
    moments = set(np.linspace(motion.frame.min(), motion.frame.max(), MOMENTS).round().astype(int).tolist())
    pictures = []
    for frame in clip_frames():
        people = motion.people(frame.index)
        if len(people.ids):
            writer.add(frame, people)
            due = sum(moment <= frame.index for moment in moments)  # the frame itself, or the next one that was fitted
            if len(pictures) < due:
                pictures.append(Overlay(body, frame.size).draw(frame.image, people))
    writer.close()
    cv2.imwrite(str(folder / "overlay.png"), contact_sheet(pictures[:MOMENTS], 4))


def clip_frames() -> Iterator[Frame]:
    """The bundled clip's frames."""
    video = cv2.VideoCapture(str(CLIP))
    fps, index = video.get(cv2.CAP_PROP_FPS), 0
    while True:
        got, image = video.read()
        if not got:
            return
        yield Frame("demo", index, 0.0, index / fps, image)
        index += 1
