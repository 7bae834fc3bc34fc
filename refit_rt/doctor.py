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


def examine(settings: config.Config) -> list[Finding]:
    """Everything, in the order in which data flows. Opens no camera, loads no network."""
    looks: tuple[Callable[[], list[Finding]], ...] = (
        python,
        processor,
        graphics,
        cameras,
        lambda: [body(settings.fit), bundle(settings.fit)],
        lambda: [detector(settings.detect)],
        lambda: [settings_in_use(settings)],
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
    """NVIDIA's card and TensorRT: `run` needs neither."""
    card = ""
    if tool := shutil.which("nvidia-smi"):
        query = [tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
        card = done.stdout.strip().replace("\n", "; ") if done.returncode == 0 else ""
    gpu = Finding("gpu", bool(card), card or "no NVIDIA card", "Not needed: everything runs on the processor")
    try:
        engine = importlib.metadata.version("tensorrt")
    except importlib.metadata.PackageNotFoundError:
        engine = ""
    cure = "To use the card: pip install tensorrt" if card else "Not needed without a card"
    return [gpu, Finding("tensorrt", bool(engine), engine or "not installed", cure)]


def cameras() -> list[Finding]:
    """The webcams that Linux lists. They are not opened."""
    found = []
    for device in sorted(Path("/dev").glob("video*"), key=lambda path: int(path.name[5:] or 0)):
        name = Path(f"/sys/class/video4linux/{device.name}/name")
        label = name.read_text().strip() if name.is_file() else "unnamed"
        readable = os.access(device, os.R_OK | os.W_OK)
        cure = "Join its group: sudo usermod -aG video $USER, then log in again"
        found.append(Finding("camera", readable, f"{device.name[5:]}: {label}", cure))
    if found or sys.platform != "linux":
        return found or [Finding("camera", True, "not listed on this system; try: refit-rt run --capture.source 0")]
    return [Finding("camera", False, "none", "Plug one in, or give a file: refit-rt run clip.mp4")]


def body(settings: config.Fit) -> Finding:
    """The body that is fitted, when it is not the bundle's own."""
    from refit_rt.body import load_body

    try:
        loaded = load_body(Path(settings.body) if settings.body else None)
    except UserError as error:
        return Finding("body", False, str(error), needed=True)
    markers = "no" if loaded.markers is None else len(loaded.markers)
    where = settings.body or "shipped"
    return Finding("body", True, f"{loaded.name} ({where}), {len(loaded.template)} vertices, {markers} markers")


def bundle(settings: config.Fit) -> Finding:
    """The network in use."""
    from refit_rt.bundle import find_bundle, load_bundle

    try:
        path = find_bundle(settings.bundle)
        card = load_bundle(path, settings.body).card
    except UserError as error:
        return Finding("bundle", False, str(error), needed=True)
    return Finding("bundle", True, f"{card.name} ({path}), licence {card.licence}")


def detector(settings: config.Detect) -> Finding:
    """The detector's file: there, or pulled at the first run."""
    if settings.model == "blazepose":
        from refit_rt.detect.pull import FILES, cache_dir, cached

        missing = [name for name in FILES if cached(name) is None]
        have = [name for name in FILES if name not in missing]
        text = f"blazepose in {cache_dir()}: " + (", ".join(have) or "nothing yet")
        return Finding("detector", bool(have), text, "It is pulled at the first run (36 MB, once)")
    there = Path(settings.model).is_file()
    cure = "Check detect.model: blazepose, or an .onnx file"
    return Finding("detector", there, settings.model + ("" if there else ": no such file"), cure, needed=True)


def settings_in_use(settings: config.Config) -> Finding:
    """What the settings lead to."""
    where = "config.yaml" if Path("config.yaml").is_file() else "defaults"
    text = f"{where}: source {settings.capture.source}, stream at {settings.publish.address}"
    return Finding("settings", True, text)
