"""The direction of imports is the architecture: a part may only import from the layers above its own in this list."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PACKAGE = ROOT / "refit_rt"

LAYERS = [
    {"errors"},
    {"config", "types", "latest"},
    {"geometry", "wire", "stage", "interrupt", "raster"},
    {"cameras", "body"},
    {"bundle", "smpl_file"},
    {"model"},
    {"runners"},
    {"crops", "mirror", "stature"},
    {"capture", "detect", "track", "fit", "smooth", "publish", "motion", "record", "render"},  # these are siblings
    {"follow", "listen"},
    {"pipeline", "audience"},
    {"equalise"},
    {"export", "bench_loop", "demo", "doctor", "build_engines", "int8"},
    {"bench", "checkpoint", "quantise"},
    {"__main__"},
]
DEPTH = {name: depth for depth, names in enumerate(LAYERS) for name in names}
TORCH_IS_AT_HOME = {"model", "export", "bench_loop"}


def imported(path: Path) -> set[str]:
    """The parts of refit_rt that this file names, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("refit_rt."):
            names.add(node.module.split(".")[1])
        if isinstance(node, ast.ImportFrom) and node.module == "refit_rt":
            names |= {alias.name for alias in node.names} - {"__version__"}
        if isinstance(node, ast.Import):
            names |= {a.name.split(".")[1] for a in node.names if a.name.startswith("refit_rt.")}
    return names


def part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path: Path):
    here = part(path)
    if here == "__init__":
        assert imported(path) == set()
        return
    assert here in DEPTH, f"{here} has no layer: add it to LAYERS"
    for name in imported(path) - {here}:
        assert DEPTH[name] < DEPTH[here], f"{here} must not import {name}"


def test_a_wrong_import_would_be_seen(tmp_path):
    path = tmp_path / "geometry.py"
    path.write_text("def late():\n    from refit_rt import pipeline\n    from refit_rt.fit.fitter import Fitter\n")
    assert imported(path) == {"pipeline", "fit"}


@pytest.mark.parametrize(
    "module", ["refit_rt.pipeline", "refit_rt.__main__", "refit_rt.stream.subscribe", "refit_rt.follow"]
)
def test_what_runs_does_without_torch(module):
    code = f"import sys; sys.modules['torch'] = None; import {module}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent)


def test_only_the_network_and_its_export_name_torch_at_import():
    for path in PACKAGE.rglob("*.py"):
        tops = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {a.name for n in tops if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module or "" for n in tops if isinstance(n, ast.ImportFrom)}
        if any(name.split(".")[0] == "torch" for name in names):
            assert part(path) in TORCH_IS_AT_HOME or path.name.startswith("torch_"), path


def test_help_needs_nothing_heavy():
    heavy = ("cv2", "numba", "openvino", "scipy", "zmq", "torch")
    code = (
        "import sys\nfrom refit_rt.__main__ import command\n"
        "try: command(['run', '--help'])\nexcept SystemExit: pass\n"
        f"found = [m for m in {heavy!r} if m in sys.modules]\nassert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=PACKAGE.parent, stdout=subprocess.DEVNULL)
