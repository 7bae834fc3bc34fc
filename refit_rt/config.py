"""Every setting, once: its name, type, unit and default. config.yaml mirrors this key for key."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from refit_rt.errors import UserError

Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Share = Annotated[float, Meta(ge=0, le=1)]
Count = Annotated[int, Meta(ge=1)]
Part = tuple[Share, Share, Share, Share]  # left, top, right, bottom of a part of the picture, in shares of its sides
AxesName = Literal["gltf", "opencv", "unity", "unreal", "blender"]  # of axes.AXES
WHOLE: Part = (0.0, 0.0, 1.0, 1.0)
EVERY_SETTING = "For every setting: refit-rt run --help"


class Group(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A group of settings. It cannot change once read, and refuses an unknown key."""


S = TypeVar("S", bound=Group)


class Capture(Group, frozen=True):
    """Where frames come from."""

    source: str = "0"
    """Webcam index, video file, picture, folder of pictures, or an address: rtsp://, http://, tcp://."""
    sources: dict[str, str] = {}
    """Several cameras of a rig at once: name in the calibration file, and source; empty: `source` alone."""
    timestamps: str = ""
    """Times of the frames of recorded sources: csv with columns camera, frame, time; empty: the files' own times."""
    delays_s: dict[str, float] = {}
    """Constant delay of a camera of `sources`, subtracted from its times, in seconds; else the calibration's."""
    pictures: Literal["auto", "clip", "stills"] = "auto"
    """What a folder of pictures holds: frames of a clip; stills, each a picture by itself; auto: as recognised."""
    name: Annotated[str, Meta(pattern="^[^,]*$")] = "camera"
    """Name of the camera in every message and in the calibration file, without commas."""
    pace: Literal["auto", "live", "lossless"] = "auto"
    """live: the newest frame wins; lossless: every frame is processed; auto: lossless for a file with --out."""
    fps: NotNegative = 0.0
    """Frame rate asked of a webcam, or at which a file without times, or one played live, is shown; 0: its own."""
    width: Annotated[int, Meta(ge=0)] = 1280
    """Image width requested from a webcam, in pixels; 0: its own choice."""
    height: Annotated[int, Meta(ge=0)] = 720
    """Image height requested from a webcam, in pixels; 0: its own choice."""
    transport: Literal["tcp", "udp"] = "tcp"
    """How an rtsp:// camera sends: tcp loses no picture; udp for cameras that know no other way."""
    loop: bool = False
    """Start a file again at its end (live only)."""
    retry_s: Positive = 10.0
    """Longest pause between two attempts to reopen a source that has vanished, in seconds."""


class Camera(Group, frozen=True):
    """What is known about the lens. The first one given wins: calibration, focal_px, fov_deg, EXIF, image diagonal."""

    calibration: str = ""
    """Calibration file with a camera called capture.name, or with those of capture.sources; empty: none."""
    focal_px: NotNegative = 0.0
    """Focal length in pixels of the captured image; 0: unknown."""
    fov_deg: Annotated[float, Meta(ge=0, lt=170)] = 0.0
    """Field of view along the longer side of the image, in degrees; 0: unknown."""


class Detect(Group, frozen=True):
    """How people are detected."""

    model: str = "movenet"
    """movenet; far, for distant crowds (both ship with refit_rt); or an .onnx file in one of the layouts below."""
    layout: Literal["auto", "yolox", "detr", "rfdetr"] = "auto"
    """Output of the .onnx file: YOLOX grid or boxes; RT-DETR, D-FINE, DEIM; RF-DETR; auto: from names and shapes."""
    size_px: Annotated[int, Meta(ge=0)] = 0
    """Input size of the .onnx file, if the file does not state it; 0: as stated."""
    normalise: Literal["auto", "none", "unit", "imagenet"] = "auto"
    """Pixel range: 0..255 (none), 0..1 (unit), ImageNet mean and deviation; auto: as in the layout's own code."""
    threshold: Share = 0.0
    """Ignore detections with a lower score than this; 0: 0.35 for movenet, 0.45 for far, 0.5 for an .onnx file."""
    every_s: Positive = 0.25
    """Seconds between two searches of a calm picture; losing or doubting a person triggers a search at once."""
    region: Part = WHOLE
    """Follow only people whose centre lies here: left top right bottom, in shares of the picture's width and height."""
    ignore: tuple[Part, ...] = ()
    """Parts of the picture to ignore, such as a mirror, a poster or a television; each as in region."""


class Track(Group, frozen=True):
    """Tracking: keeps each person's id across frames."""

    max_people: Annotated[int, Meta(ge=0)] = 0
    """Most people to fit at once, the largest first; 0: everybody, as far as the frame's time allows."""
    subject: str = "all"
    """Follow one person only: the largest, the one nearest the picture's centre, or the one with an id (a number)."""
    keep_s: Positive = 2.0
    """How long a person may be hidden and still keep the same id, in seconds."""
    min_height_px: NotNegative = 40.0
    """Ignore people smaller than this."""


class Fit(Group, frozen=True):
    """How each person is fitted."""

    bundle: str = "edge"
    """Name of a bundle that ships with refit_rt (edge), or the folder of a bundle."""
    body: str = ""
    """Body file to use instead of the bundle's own (see import-smpl); empty: the bundle's."""
    backend: Literal["cpu", "tensorrt", "torch"] = "cpu"
    """cpu: OpenVINO and numba; tensorrt: an NVIDIA GPU (see refit-rt build); torch: the reference network."""
    precision: Literal["auto", "f32", "f16", "bf16", "int8"] = "auto"
    """Arithmetic of the encoder; auto: int8 if processor and bundle's card allow it, else f32; with tensorrt f16."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where torch runs the loop; auto: on a GPU if torch finds one (with trt_plugins' kernels), else the processor."""
    plugins: str = ""
    """Library built from trt_plugins, for tensorrt; empty: plain engines, which need no library."""
    cuda: Literal["cuda-python", "pycuda"] = "cuda-python"
    """Package that manages GPU memory for tensorrt; pycuda has no CUDA graphs."""
    threads: Annotated[int, Meta(ge=0)] = 0
    """Threads of the encoder; 0: all cores, or one if more are not faster (measured at the start)."""
    cold_iterations: Count = 5
    """Updates from the network's own initial estimate (a new person, a cut)."""
    iterations: Count = 2
    """Most updates from the previous frame's body."""
    update_deg: NotNegative = 0.0
    """Stop when an update turns no joint by more than this, in degrees; 0: never stop early."""
    deadline_ms: NotNegative = 0.0
    """Stop when the frame is older than this, in milliseconds; 0: no deadline."""
    warm: bool = True
    """Start from the previous frame's body."""
    mirror: Literal["off", "turns", "both"] = "turns"
    """turns: mirror every other frame and average the two; both: every frame both ways, at twice the cost; off."""
    blend: Share = 0.4
    """Weight of the previous frame's body in the start; the rest is the initial estimate."""
    keypoints: bool = True
    """Move each body onto the key points that the detector finds, as far as the network's known errors allow."""
    look_s: NotNegative = 0.033
    """Seconds between two looks at a person's key points (14 ms each); every camera of a rig looks a third as often."""
    min_confidence: Share = 0.3
    """Below this confidence a person counts as lost, and is fitted from a new detection."""
    stature_m: Annotated[float, Meta(ge=0, le=2.8)] = 0.0
    """Height of every person followed, barefoot, in metres: one camera cannot measure it; 0: unknown."""
    shapes: dict[str, str] = {}
    """Files of refit-rt measure, or .npz with betas, of people whose shape is known, by id; all: for everybody else."""


class Smooth(Group, frozen=True):
    """Kalman filter of rotations and translation; the shape settles over time."""

    enabled: bool = True
    """Off: the fitted bodies are published unfiltered."""
    strength: Positive = 2.5
    """Noise of the fits that is assumed, in multiples of the measured one: more is calmer, and later."""
    feet: bool = True
    """Feet that stand on the floor stay where they are, and contacts says which. Off: contacts are 0."""


class Publish(Group, frozen=True):
    """The stream that other programs subscribe to."""

    enabled: bool = True
    """Off: nothing is published."""
    address: str = "tcp://127.0.0.1:5560"
    """ZeroMQ address that the publisher binds. Anything but 127.0.0.1 opens it to the network."""
    key: str = ""
    """File NAME.key_secret, made where missing: encrypts stream and pictures; readers need NAME.key; empty: open."""
    outlets: tuple[str, ...] = ()
    """More streams, as vmc://127.0.0.1:39539, sonic://, websocket:// or json:// (docs/stream.md)."""
    pictures: str = ""
    """Address at which refit-rt view finds the pictures with the bodies, as tcp://127.0.0.1:5561; empty: none."""


class Out(Group, frozen=True):
    """The files that a run writes."""

    dir: str = ""
    """Folder for motion.npz and overlay.mp4 (stills: overlay/NAME.jpg); empty: nothing is written."""
    overlay: bool = True
    """Draw the bodies over the pictures, beside motion.npz."""


class Settings(Group, frozen=True):
    """All settings, as config.yaml holds them."""

    capture: Capture = Capture()
    camera: Camera = Camera()
    detect: Detect = Detect()
    track: Track = Track()
    fit: Fit = Fit()
    smooth: Smooth = Smooth()
    publish: Publish = Publish()
    out: Out = Out()


def load(path: Path) -> Settings:
    """Reads a settings file. Raises UserError naming the file and the place of a wrong key, type or range."""
    try:
        values = msgspec.yaml.decode(path.read_bytes() or b"{}") or {}
        if isinstance(values, dict) and isinstance(capture := values.get("capture"), dict):
            capture |= {name: _as_text(capture[name]) for name in ("source", "sources") if name in capture}
        return msgspec.convert(values, Settings)
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}). Give a settings file with --config") from error
    except msgspec.MsgspecError as error:
        reason = " ".join(str(error).split())  # the YAML parser's takes several lines
        raise UserError(f"{path}: {reason}. {EVERY_SETTING}") from error


def _as_text(value: object) -> object:
    """The index of a webcam, or the number of a camera, that is written without quotes; anything else as it is."""
    if isinstance(value, dict):
        return {_as_text(name): _as_text(source) for name, source in value.items()}
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def check(settings: S, name_of: Callable[[str], str] = str) -> S:
    """The rules, for settings that code or the command line gave. Raises UserError naming the setting and its value.

    name_of: from the setting's place, as in fit.iterations, to the name that its user knows it by.
    """
    try:
        return msgspec.convert(msgspec.to_builtins(settings), type(settings))
    except msgspec.ValidationError as error:
        reason, _, place = str(error).removesuffix("`").partition(" - at `$.")
        value = functools.reduce(getattr, place.split("."), settings)
        raise UserError(f"{name_of(place)}: {value!r} is not allowed, {reason[0].lower()}{reason[1:]}") from error
