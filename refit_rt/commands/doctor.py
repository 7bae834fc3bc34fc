"""What is here, and the cure for what is missing."""

import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from refit_rt import config
from refit_rt.errors import UserError


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the doctor."""

    name: str
    good: bool
    text: str
    cure: str = ""
    needed: bool = False  # `run` does not work without it

    def line(self) -> str:
        """For people to read."""
        mark = "ok  " if self.good else "FAIL" if self.needed else "--  "
        return f"{mark}  {self.name:<9} {self.text}" + (f". {self.cure}" if self.cure and not self.good else "")


def examine(settings: config.Config, where: str = "defaults") -> list[Finding]:
    """Everything, in the order in which data flows. Opens no camera, loads no network. where: the settings' file."""
    looks: tuple[Callable[[], list[Finding]], ...] = (
        python,
        processor,
        graphics,
        lambda: [engines(settings.fit)],
        cameras,
        lambda: network(settings.fit),
        lambda: [detector(settings.detect)],
        lambda: [settings_in_use(settings, where)],
    )
    return [finding for look in looks for finding in look()]


def python() -> list[Finding]:
    """The interpreter and what `run` is made of."""
    versions = []
    for name in ("openvino", "opencv-python-headless", "numba", "pyzmq"):
        try:
            versions.append(f"{name} {importlib.metadata.version(name).split('-')[0]}")
        except importlib.metadata.PackageNotFoundError:
            versions.append(f"{name} not installed by pip")
    found = f"{sys.version.split()[0]}; " + ", ".join(versions)
    return [Finding("python", True, found)]


def processor() -> list[Finding]:
    """Cores, and the instructions that decide how fast the encoder is."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    about = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in reversed(lines))}
    flags = set(about.get("flags", about.get("Features", "")).split())
    names = {
        "avx2": "avx2", "avx512f": "avx512", "avx512_vnni": "vnni", "avx_vnni": "avx-vnni", "avx512_bf16": "bf16",
        "amx_bf16": "amx-bf16", "amx_int8": "amx-int8", "asimd": "neon",
    }  # fmt: skip
    has = [name for flag, name in names.items() if flag in flags]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model = about.get("model name", "processor")
    text = f"{model}, {cores} cores, " + (" ".join(has) or "no vector instructions known")
    slow = "Without avx2 expect a few frames a second"
    return [Finding("cpu", not lines or bool({"avx2", "asimd"} & flags), text, slow)]


def graphics() -> list[Finding]:
    """NVIDIA's card, which helps training: `run` does not use it."""
    card = ""
    if tool := shutil.which("nvidia-smi"):
        query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        try:
            done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=True)
            card = done.stdout.strip().replace("\n", "; ")
        except (OSError, subprocess.SubprocessError):  # it hangs when the driver does
            return [Finding("gpu", False, "nvidia-smi gives no answer", "Not needed: everything runs on the processor")]
    return [Finding("gpu", bool(card), card or "no NVIDIA card", "Not needed: everything runs on the processor")]


def engines(settings: config.Fit) -> Finding:
    """What --fit.backend tensorrt is made of. Needed only when the settings say so."""
    needed = settings.backend == "tensorrt"
    versions, missing = [], []
    binding = ("cuda.bindings", "cuda-python") if settings.cuda == "cuda-python" else ("pycuda", "pycuda")
    for module, package in (("tensorrt", "tensorrt"), binding, ("onnx", "onnx")):
        try:
            found = importlib.util.find_spec(module) is not None
        except ImportError:  # there is no `cuda` for it to be in
            found = False
        (versions if found else missing).append(package)
    text = f"{', '.join(versions)} installed" if versions else "not installed"
    text += f", {', '.join(missing)} missing" if versions and missing else ""
    if settings.plugins:
        there = Path(settings.plugins).expanduser().is_file()
        missing += [] if there else [settings.plugins]
        text += f"; plugins {settings.plugins}" + ("" if there else ": no such file")
    cure = "For NVIDIA cards: pip install 'refit-rt[tensorrt]', then refit-rt build"
    return Finding("tensorrt", not missing, text, cure, needed)


def cameras() -> list[Finding]:
    """The webcams that Linux lists. They are not opened."""
    found = []
    devices = [path for path in Path("/dev").glob("video*") if path.name[5:].isdecimal()]
    for device in sorted(devices, key=lambda path: int(path.name[5:])):
        name = Path(f"/sys/class/video4linux/{device.name}/name")
        label = name.read_text().strip() if name.is_file() else "unnamed"
        readable = os.access(device, os.R_OK | os.W_OK)
        cure = "Join its group: sudo usermod -aG video $USER, then log in again"
        found.append(Finding("camera", readable, f"{device.name[5:]}: {label}", cure))
    if found or sys.platform != "linux":
        return found or [Finding("camera", True, "not listed on this system; try: refit-rt run --capture.source 0")]
    return [Finding("camera", False, "none", "Plug one in, or give a file: refit-rt run clip.mp4")]


def network(settings: config.Fit) -> list[Finding]:
    """The bundle in use, and the body that is fitted with it."""
    from refit_rt.bundle.read import PACKAGED_BODY, find_bundle, load_bundle

    try:
        path = find_bundle(settings.bundle)
        loaded = load_bundle(path, settings.body)
    except UserError as error:
        return [Finding("bundle", False, str(error), needed=True)]
    card, body = loaded.card, loaded.body
    where = settings.body or ("shipped" if card.body == PACKAGED_BODY else path / card.body)
    markers = "no" if body.markers is None else len(body.markers)
    return [
        Finding("bundle", True, f"{card.name} ({path}), licence {card.licence}"),
        Finding("body", True, f"{body.name} ({where}), {len(body.template)} vertices, {markers} markers"),
    ]


def detector(settings: config.Detect) -> Finding:
    """The detector's file: there, or pulled at the first run."""
    if settings.model == "blazepose":
        from refit_rt.detect.pull import cached

        there = cached("pose_detection.tflite")
        text = f"blazepose in {config.cache_dir()}" + ("" if there else ": nothing yet")
        return Finding("detector", there is not None, text, "It is pulled at the first run (36 MB, once)")
    there = Path(settings.model).expanduser().is_file()
    cure = "Check detect.model: blazepose, or an .onnx file"
    return Finding("detector", there, settings.model + ("" if there else ": no such file"), cure, needed=True)


def settings_in_use(settings: config.Config, where: str) -> Finding:
    """What the settings lead to."""
    text = f"{where}: source {settings.capture.source}, stream at {settings.publish.address}"
    return Finding("settings", True, text)
