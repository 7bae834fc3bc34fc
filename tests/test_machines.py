"""Machines that are not a developer's: a read-only installation, a user without a home, a network that is watched."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from refit_rt import files
from tests.support.paths import ROOT

COMPILES = """
import errno, os, sys, tempfile
may, temporary = sys.argv[1:]
tempfile.tempdir = temporary
writes = os.O_WRONLY | os.O_RDWR | os.O_CREAT

def read_only(event, arguments):  # as a file system that is mounted so
    if event == "os.mkdir" or (event == "open" and arguments[2] & writes):
        path = arguments[0]
        if isinstance(path, str) and path != os.devnull and not (may and path.startswith(may)):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)

sys.addaudithook(read_only)
from refit_rt.commands.shared import quiet_libraries
quiet_libraries()
from refit_rt.draw import raster
from refit_rt.files import openvino_cache
print(raster.barycentric._cache.cache_path)
print(openvino_cache().get("CACHE_DIR", "none"))
"""
WATCHED = """
import sys
said = []
def hook(event, arguments):
    if event.startswith("socket.") and event != "socket.gethostname":
        said.append(event)
sys.addaudithook(hook)
import numpy as np
import refit_rt
refit_rt.load().follow(np.zeros((240, 320, 3), np.uint8))
import openvino
assert openvino.convert_model
print(said, "openvino_telemetry" in sys.modules)
"""


def on_a_read_only_machine(may: Path | None, temporary: Path, **environment: str) -> tuple[list[str], list[str]]:
    """The places of two caches, and the lines of the log, where only `may` can be written."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("XDG", "NUMBA", "REFIT"))}
    plain |= {"HOME": "/nonexistent", "USERPROFILE": "/nonexistent", **environment}
    command = [sys.executable, "-B", "-c", COMPILES, str(may or ""), str(temporary)]
    done = subprocess.run(command, env=plain, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), done.stderr.splitlines()


def test_a_read_only_installation_without_a_home_caches_in_the_temporary_folder(tmp_path):
    (numba, openvino), (warning,) = on_a_read_only_machine(tmp_path, tmp_path)
    (place,) = tmp_path.glob("refit_rt-*")
    assert Path(numba).is_relative_to(place / "numba")
    assert openvino == str(place / "openvino")
    assert f"cannot be written: what is compiled is kept in {place}" in warning


def test_nothing_is_cached_where_nothing_can_be_written(tmp_path):
    places, (warning,) = on_a_read_only_machine(None, tmp_path)
    assert places == ["None", "none"]
    assert "compiled again at each start. Set REFIT_RT_CACHE" in warning
    assert not list(tmp_path.iterdir())


def test_the_folder_of_refit_rt_cache_is_used_without_a_word(tmp_path):
    places, log = on_a_read_only_machine(tmp_path, tmp_path, REFIT_RT_CACHE=str(tmp_path / "cache"))
    assert log == []
    assert all(Path(place).is_relative_to(tmp_path / "cache") for place in places)


def test_a_temporary_folder_of_another_user_is_not_trusted(tmp_path, monkeypatch):
    if not hasattr(os, "getuid"):
        pytest.skip("a Windows user's temporary folder is private")
    monkeypatch.setattr(files.tempfile, "tempdir", str(tmp_path))
    place = tmp_path / f"refit_rt-{os.getuid()}"
    place.mkdir()
    place.chmod(0o777)
    assert files._place(files.NOWHERE) is None
    files._place.cache_clear()
    place.chmod(0o700)
    assert files._place(files.NOWHERE) == place
    files._place.cache_clear()


def test_following_people_reaches_no_network_and_leaves_nothing_in_the_home(tmp_path):
    """CI=true would silence its telemetry too, which would hide a fault here."""
    plain = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    plain |= {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    plain |= {"REFIT_RT_CACHE": str(files.cache_dir())}
    done = subprocess.run([sys.executable, "-c", WATCHED], env=plain, cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[] False", done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == []


def test_nothing_that_runs_can_fetch_a_file():
    fetches = r"^\s*(?:import|from) (?:urllib\.request|urllib3|http\.client|requests|httpx|ftplib|pip|torch\.hub)\b"
    for path in (path for room in ("refit_rt", "calib") for path in (ROOT / room).rglob("*.py")):
        found = re.findall(fetches, path.read_text(encoding="utf-8"), re.MULTILINE)
        assert not found, f"{path}: {found[0]}"


def test_openvino_is_imported_in_one_place():
    for path in (path for room in ("refit_rt", "calib", "training") for path in (ROOT / room).rglob("*.py")):
        found = re.findall(r"^\s*(?:import|from) openvino\b.*", path.read_text(encoding="utf-8"), re.MULTILINE)
        assert not found or path.name == "inference.py", f"{path}: import it from refit_rt.inference"


def test_text_is_utf_8_on_every_system():
    """Without an encoding, Windows takes that of the country."""
    for path in (path for room in ("refit_rt", "calib", "training") for path in (ROOT / room).rglob("*.py")):
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if re.search(r"\.(read|write)_text\(.*\)", text):
                assert "encoding=" in text, f"{path}:{line}"


@pytest.mark.parametrize(
    "module", ["refit_rt.commands.bench.live", "refit_rt.capture.webcam", "refit_rt.commands.doctor"]
)
def test_modules_that_windows_lacks_are_not_needed(module):
    lacking = ("resource", "fcntl", "termios", "pwd", "grp", "pty")
    code = f"import sys\nsys.modules.update(dict.fromkeys({lacking!r}))\nimport {module}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
