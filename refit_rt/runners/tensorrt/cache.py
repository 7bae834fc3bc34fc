"""The cache of engines on disk. An engine's key changes with everything it depends on; files are written atomically."""

import hashlib
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec

from refit_rt.files import cache_dir, write_whole
from refit_rt.runners.tensorrt.cuda import Device

log = logging.getLogger(__name__)

KEY_LENGTH = 16  # hexadecimal digits in a file's name


def folder() -> Path:
    """The folder of the engines, their facts and the timings."""
    return cache_dir() / "tensorrt"


def engine_path(name: str, made_of: dict[str, Any], plugins: bytes, version: str, device: Device) -> Path:
    """The file of an engine. Its name holds a hash of the ONNX file's sources and writers, the plugins' library,
    TensorRT's full version, the GPU and its driver, because an engine works only with exactly these."""
    parts = {
        "made_of": made_of,
        "plugins": hashlib.sha256(plugins).hexdigest(),
        "tensorrt": version,
        "device": asdict(device),
    }
    digest = hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()
    return folder() / f"{name}-{digest[:KEY_LENGTH]}.plan"


def timing_path(version: str, device: Device) -> Path:
    """The file of the builder's timings on this GPU. With them, a second build takes a fraction of the time."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in f"{version} {device.name} {device.capability}")
    return folder() / f"timing-{plain}.cache"


def read_engine(path: Path) -> bytes | None:
    """An intact plan, or None; a damaged one is deleted. A hash decides, because TensorRT may crash on half a file."""
    plan, facts = read(path), read(facts_path(path))
    if plan is None:
        return None
    try:
        whole = msgspec.json.decode(facts or b"{}", type=dict).get("sha256") == hashlib.sha256(plan).hexdigest()
    except msgspec.MsgspecError:
        whole = False
    if whole:
        return plan
    forget(path, "is truncated or changed")
    return None


def write_engine(path: Path, plan: bytes, facts: dict[str, Any]) -> None:
    """Writes the plan, and beside it the facts about its build and its hash. Raises UserError."""
    content = {**facts, "sha256": hashlib.sha256(plan).hexdigest()}
    write(path, plan)
    write(facts_path(path), msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")


def forget(path: Path, why: str) -> None:
    """Deletes an unusable engine, so that it is built again."""
    log.warning("%s %s: it is deleted and built again", path, why)
    for one in (path, facts_path(path)):
        one.unlink(missing_ok=True)


def facts_path(path: Path) -> Path:
    return path.with_suffix(".json")


def read(path: Path) -> bytes | None:
    """A file's content, or None when it is missing or cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def write(path: Path, content: bytes) -> None:
    """Replaces a file atomically, so that other processes never find half of it. Raises UserError."""
    with write_whole(path, "Set REFIT_RT_CACHE to another folder") as part:
        part.write_bytes(content)
