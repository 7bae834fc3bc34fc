"""The wheel in an environment that holds nothing else: what it contains, what it installs, and that its demo runs."""

import os
import re
import shutil
import socket
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.paths import ROOT

pytestmark = pytest.mark.slow  # a build, an install and a clip that plays for ten seconds

LIGHT = {"numpy", "scipy", "numba", "opencv-python-headless", "openvino", "pyzmq", "pyyaml", "msgspec", "safetensors"}
HEAVY = {"torch", "onnx", "onnxruntime", "smplx", "pytest", "tensorboard"}  # no run needs them
MADE = ("__pycache__", "*.egg-info", "build")
PACKAGES = ("refit_rt", "calib")
COMPILED_ANEW = "body"  # this room's kernels take seconds; the others take a minute and a half


def run(*command: str | Path, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """A command in a folder, in an environment that leads to no checkout and no other virtual environment."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(
        [*map(str, command)], cwd=folder, env=env | more, capture_output=True, text=True, timeout=400, check=False
    )


def must(*command: str | Path, folder: Path, **more: str) -> str:
    """What a command prints. It fails the test when its exit code is not 0."""
    done = run(*command, folder=folder, **more)
    assert done.returncode == 0, f"{done.args}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an empty virtual environment. Skips where pip reaches no registry."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    probe = run(python, "-m", "pip", "download", "--no-deps", "--quiet", "--retries", "1", "setuptools", folder=folder)
    if probe.returncode:
        pytest.skip(f"needs a package registry: {probe.stderr.strip().splitlines()[-1:]}")
    return python


def lend_compiled_kernels(python: Path, folder: Path) -> None:
    """Gives the installed package the kernels that numba has compiled for the checkout's equal files, where it has any.
    COMPILED_ANEW stays as a user's first start finds it."""
    where = "import refit_rt, pathlib; print(pathlib.Path(refit_rt.__file__).parent)"
    installed = Path(must(python, "-c", where, folder=folder).strip())
    for source in (ROOT / "refit_rt").rglob("*.py"):
        inside = source.relative_to(ROOT / "refit_rt")
        twin = installed / inside
        if inside.parts[0] == COMPILED_ANEW or twin.read_bytes() != source.read_bytes():
            continue
        kept = [*(source.parent / "__pycache__").glob(f"{source.stem}.*.nb[ci]")]
        if kept:  # numba takes them for a file of the same size and time
            shutil.copystat(source, twin)
            (twin.parent / "__pycache__").mkdir(exist_ok=True)
            for file in kept:
                shutil.copy(file, twin.parent / "__pycache__")


@pytest.fixture(scope="module")
def wheel(python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built by pip from a copy of everything that could leak into it."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, copy)
    for name in (*PACKAGES, "training", "tests", "trt_plugins"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns(*MADE))
    must(python, "-m", "pip", "wheel", "--no-deps", "--quiet", "--wheel-dir", copy / "dist", copy, folder=copy)
    (made,) = (copy / "dist").glob("*.whl")
    return made


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(wheel: Path) -> None:
    source = wheel.parents[1]
    files = [path for package in PACKAGES for path in (source / package).rglob("*") if path.is_file()]
    package = {path.relative_to(source).as_posix() for path in files}
    names = set(zipfile.ZipFile(wheel).namelist())
    metadata = {name for name in names if name.split("/")[0].endswith(".dist-info")}
    assert names - metadata == package
    assert {"refit_rt/py.typed", "refit_rt/assets/body/body.npz"} <= names
    assert {name.rpartition("/")[2] for name in metadata} >= {"LICENSE", "NOTICE", "entry_points.txt"}


def test_the_demo_runs_where_only_the_wheel_is_installed(wheel: Path, python: Path, tmp_path: Path) -> None:
    pip = (python, "-m", "pip")
    # --no-compile: Python compiles what the demo imports, not all of scipy.
    must(*pip, "install", "--quiet", "--no-compile", "--constraint", ROOT / "constraints.txt", wheel, folder=tmp_path)
    must(*pip, "check", folder=tmp_path)
    installed = {line.partition("==")[0].lower() for line in must(*pip, "freeze", folder=tmp_path).splitlines()}
    assert installed >= LIGHT
    assert not installed & HEAVY
    lend_compiled_kernels(python, tmp_path)

    program = python.with_name("refit-rt")
    assert "calibrate solve" in must(program, "calibrate", "--help", folder=tmp_path)
    assert "--square-mm" in must(program, "calibrate", "solve", "--help", folder=tmp_path)

    cache, foreign, out = tmp_path / "cache", tmp_path / "foreign", tmp_path / "out"
    for folder in (cache, foreign):
        folder.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    demo = (program, "demo", "--out", out, "--publish.address", address)
    printed = must(*demo, folder=foreign, REFIT_RT_CACHE=str(cache))

    assert not list(foreign.iterdir())
    assert {path.name for path in out.iterdir()} == {"motion.npz", "overlay.mp4", "overlay.png"}
    assert all(path.stat().st_size > 10_000 for path in out.iterdir())
    figures = re.search(r"\((\d+) frames\): MPJPE (\d+) mm aligned at the pelvis, PA-MPJPE (\d+) mm", printed)
    assert figures, printed
    frames, mpjpe_mm, pa_mpjpe_mm = map(int, figures.groups())
    assert frames > 20
    assert pa_mpjpe_mm <= mpjpe_mm < 60
