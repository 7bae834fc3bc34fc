"""Every setting, once: its name, type, unit and default. config.yaml mirrors this key for key."""

import os
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from refit_rt.errors import UserError

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]
EVERY_SETTING = "For every setting: refit-rt run --help"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of settings. It cannot change once read, and refuses a key it does not know."""


class Capture(Settings, frozen=True):
    """Where frames come from."""

    source: str = "0"
    """Webcam index, video file, folder of images, or an rtsp:// or http:// address."""
    name: str = "camera"
    """The camera's name in every message, and in the calibration file."""
    pace: Literal["auto", "live", "lossless"] = "auto"
    """live: newest frame wins; lossless: every frame; auto: lossless for a file given with --out."""
    fps: NotNegative = 0.0
    """Frames per second asked of a webcam, or at which a file is played live; 0: its own rate."""
    width: Annotated[int, Meta(ge=0)] = 1280
    """Pixels asked of a webcam; 0: its own choice."""
    height: Annotated[int, Meta(ge=0)] = 720
    """Pixels asked of a webcam; 0: its own choice."""
    loop: bool = False
    """A file starts again at its end (live only)."""
    retry_s: Positive = 10.0
    """Longest pause between two tries to reach a source that vanished, in seconds."""


class Camera(Settings, frozen=True):
    """What is known of the lens. The first given wins: calibration, focal_px, fov_deg, EXIF, the image's diagonal."""

    calibration: str = ""
    """A calibration file (json) holding a camera of capture.name; empty: none."""
    focal_px: NotNegative = 0.0
    """Focal length in pixels of the captured image; 0: not known."""
    fov_deg: Annotated[float, Meta(ge=0, lt=170)] = 0.0
    """Field of view along the image's longer side, in degrees; 0: not known."""


class Detect(Settings, frozen=True):
    """How people are found."""

    model: str = "blazepose"
    """blazepose (pulled once from a pinned wheel), or an .onnx file of a layout below."""
    layout: Literal["auto", "yolox", "detr", "rfdetr"] = "auto"
    """What the .onnx file answers: YOLOX grid or boxes; RT-DETR, D-FINE, DEIM; RF-DETR; auto: by names and shapes."""
    size_px: Annotated[int, Meta(ge=0)] = 0
    """Input side of the .onnx file when it does not say itself; 0: as in the file."""
    normalise: Literal["auto", "none", "unit", "imagenet"] = "auto"
    """Pixels as 0..255 (none), 0..1 (unit) or ImageNet mean and deviation; auto: as the layout's own code does."""
    threshold: Share = 0.5
    """Least score of a person."""
    every: Count = 30
    """Frames between two looks for new people; someone lost is looked for at once."""
    tiles: bool = True
    """Look again in parts of the picture, with the known people masked out, when several people may be followed."""


class Track(Settings, frozen=True):
    """Who is who from frame to frame."""

    max_people: Count = 1
    """People followed at once; the least confident are left out."""
    keep_s: Positive = 2.0
    """Seconds a person may be hidden and still come back under the same id."""
    min_height_px: NotNegative = 40.0
    """Boxes lower than this are no one."""


class Fit(Settings, frozen=True):
    """How each person is fitted."""

    bundle: str = "edge"
    """A bundle shipped with refit_rt (edge), or a folder that holds one."""
    body: str = ""
    """A body file to use in place of the bundle's own (see import-smpl); empty: the bundle's."""
    backend: Literal["cpu", "tensorrt", "torch"] = "cpu"
    """cpu: OpenVINO and numba; tensorrt: an NVIDIA GPU (see refit-rt build); torch: the readable network."""
    precision: Literal["auto", "f32", "f16", "bf16", "int8"] = "auto"
    """The encoder's arithmetic; auto: f32, with tensorrt f16 (loop included). bf16 is for processors that have it."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where torch's loop runs; auto: a GPU that torch sees, there by trt_plugins' kernels, else the processor."""
    plugins: str = ""
    """The library built from trt_plugins, for tensorrt; empty: plain engines, which need none."""
    cuda: Literal["cuda-python", "pycuda"] = "cuda-python"
    """How tensorrt's memory is reached; pycuda knows no CUDA graphs."""
    threads: Annotated[int, Meta(ge=0)] = 0
    """Threads of the encoder; 0: all cores, or one where more are no faster (measured at the start)."""
    cold_iterations: Count = 5
    """Updates from the network's own first estimate (a new person, a cut)."""
    iterations: Count = 2
    """Most updates from last frame's body."""
    update_deg: NotNegative = 0.0
    """Stop when an update turns no joint by more than this, in degrees; 0: never stop early."""
    deadline_ms: NotNegative = 0.0
    """Stop when the frame is older than this, in milliseconds; 0: no deadline."""
    warm: bool = True
    """Start from last frame's body."""
    mirror: Literal["off", "turns", "both"] = "turns"
    """Mirror images. turns: every second look is at one, for nothing; both: each look, too, at twice the cost; off."""
    blend: Share = 0.4
    """Weight of last frame's body in the start; the rest is the fresh estimate."""
    min_confidence: Share = 0.3
    """Below this a person is lost and fitted anew from a detection."""
    stature_m: Annotated[float, Meta(ge=0, le=2.8)] = 0.0
    """Height of everybody followed, barefoot, in metres: one camera does not show it; 0: not known."""


class Smooth(Settings, frozen=True):
    """One-Euro filter on rotations and translation; the shape settles."""

    enabled: bool = True
    """Off: what the fit says is what is sent."""
    cutoff_hz: Positive = 2.0
    """Cut-off at rest: lower is calmer and later."""
    beta: NotNegative = 2.0
    """How fast the cut-off rises with speed (per rad/s and per m/s)."""
    betas_s: NotNegative = 1.0
    """Time constant with which a person's shape settles, in seconds; 0: as fitted."""


class Publish(Settings, frozen=True):
    """The stream that others subscribe to."""

    enabled: bool = True
    """Off: nothing is sent."""
    address: str = "tcp://127.0.0.1:5560"
    """ZeroMQ address the publisher binds. Anything but 127.0.0.1 opens it to the network."""


class Out(Settings, frozen=True):
    """What is left on disk."""

    dir: str = ""
    """Folder for motion.npz and overlay.mp4; empty: nothing is written."""
    overlay: bool = True
    """Write overlay.mp4 beside motion.npz."""


class Config(Settings, frozen=True):
    """Everything config.yaml can say."""

    capture: Capture = Capture()
    camera: Camera = Camera()
    detect: Detect = Detect()
    track: Track = Track()
    fit: Fit = Fit()
    smooth: Smooth = Smooth()
    publish: Publish = Publish()
    out: Out = Out()


def cache_dir() -> Path:
    """Where files are kept for the next start: $REFIT_RT_CACHE, else refit_rt in $XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("REFIT_RT_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "refit_rt"


def load(path: Path) -> Config:
    """Reads a settings file. Raises UserError naming the file and the place of a wrong key, type or range."""
    try:
        said = msgspec.yaml.decode(path.read_bytes() or b"{}") or {}
        if isinstance(said, dict) and isinstance(capture := said.get("capture"), dict):
            source = capture.get("source")
            if isinstance(source, int) and not isinstance(source, bool):  # a webcam's number, written without quotes
                capture["source"] = str(source)
        return msgspec.convert(said, Config)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Give a settings file with --config") from error
    except msgspec.MsgspecError as error:
        reason = " ".join(str(error).split())  # a YAML parser's takes several lines
        raise UserError(f"{path}: {reason}. {EVERY_SETTING}") from error


def check(config: Config) -> Config:
    """The same rules for settings that did not come from a file (the command line). Raises UserError."""
    try:
        return msgspec.convert(msgspec.to_builtins(config), Config)
    except msgspec.ValidationError as error:
        raise UserError(f"settings: {error}. {EVERY_SETTING}") from error
