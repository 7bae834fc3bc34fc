"""What a file is, by its content: for the message about a file that is not what it was given for."""

import io
import re
import zipfile
from pathlib import Path

HEAD = 1024  # bytes that are looked at
TORCH_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the magic number that torch wrote in front until 2020
STARTS = {  # first bytes → kind
    b"version https://git-lfs": "lfs",
    TORCH_LEGACY: "torch",
    b"\x1f\x8b": "a gzip archive",
    b"BZh": "a bzip2 archive",
    b"\xfd7zXZ": "an xz archive",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive",
    b"Rar!": "a rar archive",
    b"\x93NUMPY": "a single numpy array (.npy)",
    b"\x89HDF": "an HDF5 file",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"%PDF": "a PDF document",
    b"BLENDER": "a Blender file",
    b"glTF": "a glTF model",
    b"Kaydara FBX": "an FBX model",
    b"\x7fELF": "a program",
    b"MZ": "a program",
}
WEB = re.compile(rb"\s*(<!doctype html|<html|<head|<\?xml)", re.IGNORECASE)
SAFETENSORS = re.compile(rb'[\x00-\xff]{5}\x00\x00\x00\{\s*"')
PICKLE = re.compile(rb"\x80[\x01-\x05]|\([dl][pScIVF(0-9\n]|[\]}][q(]|c[\w.]+\n[\w.]+\n")
TRANSFERS = {  # what goes wrong on the way of a file, and its cure
    "empty": "is empty, or holds zeros only. Download it again",
    "lfs": "is a pointer of Git LFS, not the file itself. Run git lfs pull where it comes from",
    "web page": "is a web page, not a file of data. Open the link in a browser, sign in and download the file itself",
    "half a zip": "is a download that broke off: its end is missing. Download it again",
}


def kind_of(blob: bytes) -> str:
    """The kind of a file that begins with `blob`; "" when it is unknown. A zip archive is given whole.

    "torch", "torchscript", "safetensors", "pickle", "npz", "zip", a key of TRANSFERS, or words with their article.
    """
    head = blob[:HEAD]
    if not head.strip(b"\x00"):
        return "empty"
    for start, kind in STARTS.items():
        if head.startswith(start):
            return kind
    if WEB.match(head):
        return "web page"
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(blob)
    if head[257:262] == b"ustar":
        return "a tar archive"
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite network"
    if SAFETENSORS.match(head):
        return "safetensors"
    if PICKLE.match(head):
        return "pickle"
    return "a text" if _is_text(head) else ""


def file_kind(path: Path) -> str:
    """As `kind_of`, for a file on disk. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(HEAD)
        return _kind_of_zip(file) if head.startswith(b"PK\x03\x04") else kind_of(head)


def _kind_of_zip(source) -> str:
    try:
        with zipfile.ZipFile(io.BytesIO(source) if isinstance(source, bytes) else source) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return "half a zip"
    if any(name.rpartition("/")[2] == "constants.pkl" for name in names):
        return "torchscript"
    if any(name.endswith("/data.pkl") for name in names):
        return "torch"
    return "npz" if names and all(name.endswith(".npy") for name in names) else "zip"


def _is_text(head: bytes) -> bool:
    text = head.decode("utf-8", "replace").rstrip("\ufffd")
    return all(sign.isprintable() or sign.isspace() for sign in text)
