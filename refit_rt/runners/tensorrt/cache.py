"""Engines on disk: each under a key that changes with whatever it was made of or for, written whole or not at all."""

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
    """Where engines, their facts and the timings are kept."""
    return cache_dir() / "tensorrt"


def engine_path(name: str, made_of: dict[str, Any], plugins: bytes, version: str, device: Device) -> Path:
    """The file of an engine. Its name holds a hash of what its ONNX file is made of and by, the plugins' library,
    TensorRT's full version, the GPU and its driver: an engine is good for exactly these."""
    parts = {
        "made_of": made_of,
        "plugins": hashlib.sha256(plugins).hexdigest(),
        "tensorrt": version,
        "device": asdict(device),
    }
    digest = hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()
    return folder() / f"{name}-{digest[:KEY_LENGTH]}.plan"


def timing_path(version: str, device: Device) -> Path:
    """The builder's own notes of what it has timed on this GPU: a second build with them takes a fraction."""
    plain = "".join(letter if letter.isalnum() else "-" for letter in f"{version} {device.name} {device.capability}")
    return folder() / f"timing-{plain}.cache"


def read_engine(path: Path) -> bytes | None:
    """A plan that is there and whole; a damaged one is deleted. TensorRT is not asked: it may crash on half a file."""
    plan, facts = read(path), read(facts_path(path))
    if plan is None:
        return None
    try:
        whole = msgspec.json.decode(facts or b"{}", type=dict).get("sha256") == hashlib.sha256(plan).hexdigest()
    except msgspec.MsgspecError:
        whole = False
    if whole:
        return plan
    forget(path, "is cut off or changed")
    return None


def write_engine(path: Path, plan: bytes, facts: dict[str, Any]) -> None:
    """The plan, beside it what it was made of and for. Raises UserError."""
    told = {**facts, "sha256": hashlib.sha256(plan).hexdigest()}
    write(path, plan)
    write(facts_path(path), msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")


def forget(path: Path, why: str) -> None:
    """Deletes an engine that is of no use, so that it is built again."""
    log.warning("%s %s: it is deleted and built again", path, why)
    for one in (path, facts_path(path)):
        one.unlink(missing_ok=True)


def facts_path(path: Path) -> Path:
    return path.with_suffix(".json")


def read(path: Path) -> bytes | None:
    """None when it is not there or cannot be read."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def write(path: Path, content: bytes) -> None:
    """Another process finds the old file or the new one, never half of one. Raises UserError."""
    with write_whole(path, "Set REFIT_RT_CACHE to another folder") as part:
        part.write_bytes(content)
