"""The verb `doctor`: what is installed, and the cure for what is missing."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from refit_rt.commands.machine import processor_model, vector_instructions
from refit_rt.commands.shared import File, say
from refit_rt.config import Capture, Detect, Fit, Publish
from refit_rt.errors import UserError

DEV, NAMES = Path("/dev"), Path("/sys/class/video4linux")  # where Linux lists webcams, and their names


def doctor(*, config: File = "", capture: Capture, detect: Detect, fit: Fit, publish: Publish) -> int:
    """Report what is installed, and how to get what is missing.

    It opens no camera and loads no network. The exit code is 1 if `run` would not work.

    Args:
        config: Settings file. Without this option, config.yaml of the current folder is read if there is one.
    """
    findings = [
        python(),
        processor(),
        graphics(),
        engines(fit),
        *cameras(),
        *network(fit),
        detector(detect),
        Finding("settings", True, f"{config or 'defaults'}: {sources_of(capture)}, stream at {publish.address}"),
    ]
    for finding in findings:
        say(finding.line())
    return int(any(finding.needed and not finding.good for finding in findings))


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report."""

    name: str
    good: bool
    text: str
    cure: str = ""
    needed: bool = False  # `run` does not work without it

    def line(self) -> str:
        """The line to print."""
        mark = "ok  " if self.good else "FAIL" if self.needed else "--  "
        return f"{mark}  {self.name:<9} {self.text}" + (f". {self.cure}" if self.cure and not self.good else "")


def sources_of(capture: Capture) -> str:
    """Where the pictures come from."""
    rig = ", ".join(f"{name} {source}" for name, source in capture.sources.items())
    return f"sources {rig}" if rig else f"source {capture.source}"


def python() -> Finding:
    """The interpreter and the packages that `run` needs."""
    versions = []
    for name in ("openvino", "opencv-python-headless", "numba", "pyzmq"):
        try:
            versions.append(f"{name} {importlib.metadata.version(name).split('-')[0]}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{name} not installed by pip")
    return Finding("python", True, f"{sys.version.split()[0]}; " + ", ".join(versions))


def processor() -> Finding:
    """The cores, and the instructions that decide how fast the encoder is."""
    known = vector_instructions()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    text = f"{processor_model()}, {cores} cores, " + (" ".join(known or ()) or "no vector instructions known")
    fast = known is None or bool({"avx2", "neon"} & set(known))
    return Finding("cpu", fast, text, "Without avx2 expect a few frames per second")


def graphics() -> Finding:
    """The NVIDIA card. It helps training, and the tensorrt backend."""
    card = ""
    if tool := shutil.which("nvidia-smi"):
        query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        try:
            done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
            card = done.stdout.strip().replace("\n", "; ")
        except (OSError, subprocess.SubprocessError):  # it hangs when the driver does
            return Finding("gpu", False, "nvidia-smi gives no answer", "Not needed: everything runs on the processor")
    return Finding("gpu", bool(card), card or "no NVIDIA card", "Not needed: everything runs on the processor")


def engines(fit: Fit) -> Finding:
    """What --fit.backend tensorrt needs. It is needed only if the settings choose that backend."""
    needed = fit.backend == "tensorrt"
    versions, missing = [], []
    binding = ("cuda.bindings", "cuda-python") if fit.cuda == "cuda-python" else ("pycuda", "pycuda")
    for module, package in (("tensorrt", "tensorrt"), binding, ("onnx", "onnx")):
        try:
            found = importlib.util.find_spec(module) is not None
        except ImportError:  # there is no `cuda` for it to be in
            found = False
        (versions if found else missing).append(package)
    text = f"{', '.join(versions)} installed" if versions else "not installed"
    text += f", {', '.join(missing)} missing" if versions and missing else ""
    if fit.plugins:
        there = Path(fit.plugins).expanduser().is_file()
        missing += [] if there else [fit.plugins]
        text += f"; plugins {fit.plugins}" + ("" if there else ": no such file")
    cure = "For NVIDIA cards: pip install 'refit-rt[tensorrt]', then refit-rt build"
    return Finding("tensorrt", not missing, text, cure, needed)


def cameras() -> list[Finding]:
    """The webcams that Linux lists."""
    found = []
    devices = [path for path in DEV.glob("video*") if path.name[5:].isdecimal()]
    for device in sorted(devices, key=lambda path: int(path.name[5:])):
        name = NAMES / device.name / "name"
        label = name.read_text(encoding="utf-8").strip() if name.is_file() else "unnamed"
        readable = os.access(device, os.R_OK | os.W_OK)
        cure = "Join its group: sudo usermod -aG video $USER, then log in again"
        found.append(Finding("camera", readable, f"{device.name[5:]}: {label}", cure))
    if found or sys.platform != "linux":
        return found or [Finding("camera", True, "not listed on this system; try: refit-rt run --capture.source 0")]
    return [Finding("camera", False, "none", "Plug one in, or give a file: refit-rt run clip.mp4")]


def network(fit: Fit) -> list[Finding]:
    """The bundle in use, and the body that is fitted with it."""
    from refit_rt.bundle.read import PACKAGED_BODY, find_bundle, load_bundle

    try:
        path = find_bundle(fit.bundle)
        loaded = load_bundle(path, fit.body)
    except UserError as error:
        return [Finding("bundle", False, str(error), needed=True)]
    card, body = loaded.card, loaded.body
    where = fit.body or ("shipped" if card.body == PACKAGED_BODY else path / card.body)
    markers = "no" if body.markers is None else len(body.markers)
    return [
        Finding("bundle", True, f"{card.name} ({path}), licence {card.licence}"),
        Finding("body", True, f"{body.name} ({where}), {len(body.template)} vertices, {markers} markers"),
    ]


def detector(detect: Detect) -> Finding:
    """The detector's file."""
    there = detect.model in ("movenet", "far") or Path(detect.model).expanduser().is_file()
    cure = "Check detect.model: movenet, far, or an .onnx file"
    return Finding("detector", there, detect.model + ("" if there else ": no such file"), cure, needed=True)
