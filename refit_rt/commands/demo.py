"""The bundled clip played as a camera, its stream heard by a second process, and the bodies held against the truth."""

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import msgspec
import numpy as np

from refit_rt import config
from refit_rt.body.smpl import Body
from refit_rt.bundle.read import find_bundle, load_bundle
from refit_rt.draw.overlay import Overlay, contact_sheet
from refit_rt.draw.video import OverlayWriter
from refit_rt.errors import UserError
from refit_rt.files import ASSETS
from refit_rt.motion.npz import Motion, read_motion
from refit_rt.pipeline import Report, run
from refit_rt.stream.latency import Audience, Heard
from refit_rt.types import Frame, People

log = logging.getLogger(__name__)

CLIP = ASSETS / "demo" / "demo.mp4"
TRUTH = CLIP.with_name("demo_truth.npz")
MOMENTS = 8
FOLDER = "out/demo"


@dataclass(frozen=True, slots=True)
class Errors:
    """Against the clip's truth, over the frames that were published."""

    frames: int
    mpjpe_mm: float  # pelvis as origin
    pa_mpjpe_mm: float  # after the best similarity
    pixels: float  # mean distance of projected joints
    of_height: float  # the same as a share of the person's height in the picture


def main(settings: config.Config) -> str:
    """Runs the demo and leaves out/demo; the table to print. Raises UserError."""
    folder = Path(settings.out.dir or FOLDER).expanduser()
    for left in ("motion.npz", "overlay.mp4", "overlay.png"):  # what is there afterwards is of this run
        (folder / left).unlink(missing_ok=True)
    replace = msgspec.structs.replace
    settings = replace(
        settings,
        capture=replace(settings.capture, source=str(CLIP), pace="live", fps=0.0, loop=False),
        camera=replace(settings.camera, calibration="", focal_px=float(np.load(TRUTH)["focal_px"])),
        publish=replace(settings.publish, enabled=True),
        out=config.Out(dir=str(folder), overlay=False),
    )
    with Audience(settings.publish.address) as audience:
        report = run(settings)
        if not report.frames:
            raise UserError("the demo was ended before its first frame. Let it run: it takes half a minute")
    assert audience.heard is not None
    motion = read_motion(folder / "motion.npz")
    if not len(motion.frame):
        raise UserError("nobody was found in the demo's clip. Run it with the default settings, or longer")
    log.info("drawing %s", folder / "overlay.mp4")
    draw_clip(motion, folder, load_bundle(find_bundle(settings.fit.bundle), settings.fit.body).body)
    return table(report, audience.heard, errors_of(motion, read_motion(TRUTH)), folder)


def table(report: Report, heard: Heard, errors: Errors, folder: Path) -> str:
    """What a stranger wants to know."""
    p50, p95, p99 = heard.age_ms
    return "\n".join([
        report.table(),
        f"heard by a second process: {heard.messages} messages, {heard.fps:.1f} a second",
        f"capture to subscriber: {p50:.1f} ms median, {p95:.1f} ms p95, {p99:.1f} ms p99",
        f"against the truth ({errors.frames} frames): "
        f"MPJPE {errors.mpjpe_mm:.0f} mm, PA-MPJPE {errors.pa_mpjpe_mm:.0f} mm, "
        f"joints {errors.pixels:.1f} px off ({100 * errors.of_height:.1f} % of the height)",
        f"look at {folder / 'overlay.png'} and {folder / 'overlay.mp4'}; the motion is in {folder / 'motion.npz'}",
    ])  # fmt: skip


def errors_of(motion: Motion, truth: Motion) -> Errors:
    """One person's recording against its truth, matched by frame."""
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
    """Mean distance of (n, 3) points from their truth after the best similarity (Gower 1975)."""
    a, b = points - points.mean(0), truth - truth.mean(0)
    u, s, v = np.linalg.svd(a.T @ b)
    mirror = np.diag([1, 1, np.sign(np.linalg.det(u @ v))])
    scale = np.trace(np.diag(s) @ mirror) / (a**2).sum()
    return float(np.linalg.norm(scale * a @ u @ mirror @ v - b, axis=1).mean())


def draw_clip(motion: Motion, folder: Path, body: Body) -> None:
    """overlay.mp4, the mesh of the fitted body over the clip, and overlay.png, eight moments of it."""
    writer = OverlayWriter(folder / "overlay.mp4", motion.fps, lambda size: Overlay(body, size).draw, keep_time=True)
    moments = set(np.linspace(motion.frame.min(), motion.frame.max(), MOMENTS).round().astype(int).tolist())
    pictures = []
    for frame in clip_frames():
        rows = np.flatnonzero(motion.frame == frame.index)
        if len(rows):
            people = people_of(motion, rows)
            writer.add(frame, people)
            due = sum(moment <= frame.index for moment in moments)  # its frame, or the next that was fitted
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


def people_of(motion: Motion, rows: np.ndarray) -> People:
    """The message of one frame of a recording."""
    first = rows[0]
    width, height = motion.size
    return People(
        camera="demo", frame_index=int(motion.frame[first]), captured_s=0.0, time_s=float(motion.time_s[first]),
        dropped=0,
        size=(width, height), focal_px=motion.focal_px, centre_px=((width - 1) / 2, (height - 1) / 2),
        ids=motion.person[rows], poses=motion.poses[rows].reshape(-1, 24, 3), betas=motion.betas[rows],
        trans=motion.trans[rows], joints_camera=motion.joints_camera[rows], joints_px=motion.joints_px[rows],
        joints_world=motion.joints_world[rows], box=motion.box[rows], confidence=motion.confidence[rows],
        iterations=motion.iterations[rows],
    )  # fmt: skip
