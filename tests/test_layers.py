"""The direction of imports is the architecture: a file imports only what stands below it, and nothing goes round."""

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# Low to high. A name is a file or a whole folder of refit_rt; the longest that fits counts. Files of one layer are
# siblings: they may not import each other, unless they are in one folder.
LAYERS = [
    {"errors", "types", "live", "terminal"},
    {"config", "geometry", "axes", "files", "kinds", "pickles", "addresses", "model.config"},
    {"compiler", "inference"},
    {"stream", "cameras", "body", "capture", "detect"},
    {"model", "track", "motion", "draw", "stream.bridges"},
    {"bundle.read", "view"},
    {"bundle"},
    {"runners"},
    {"runners.cpu"},
    {"runners.tensorrt", "runners.torch"},
    {"runners.make"},
    {"fit"},
    {"follow"},
    {"follow_rig"},
    {"sender"},
    {"opening", "watch"},
    {"pipeline"},
    {"commands"},
    {"__main__"},
]
DEPTH = {name: depth for depth, names in enumerate(LAYERS) for name in names}
TORCH_IS_AT_HOME = ("model", "bundle", "runners.torch", "commands.bench")
FILES = sorted((ROOT / "refit_rt").rglob("*.py"))


def module_of(path: Path, root: Path = ROOT) -> str:
    """refit_rt/fit/start.py → refit_rt.fit.start; a folder's __init__.py is the folder."""
    return ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in FILES}


def imported(path: Path, modules: set[str] | dict = MODULES) -> set[str]:
    """The modules that a file names, also inside functions and for types alone."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    found = set()
    for name in names:
        while name and name not in modules and name.split(".")[0] == "refit_rt":
            name = name.rpartition(".")[0]
        found.add(name)
    return found - {"refit_rt"}


def room_of(module: str) -> str:
    """The longest name in LAYERS that a module is in."""
    parts = module.removeprefix("refit_rt.").split(".")
    rooms = [".".join(parts[:count]) for count in range(len(parts), 0, -1)]
    room = next((room for room in rooms if room in DEPTH), None)
    assert room is not None, f"{module} has no layer: add it to LAYERS"
    return room


def goes_up(here: str, there: str) -> bool:
    """Whether an import from `here` of `there` goes up or sideways."""
    low, high = room_of(there), room_of(here)
    if low == high:
        return False
    return DEPTH[low] >= DEPTH[high]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    here = module_of(path)
    names = imported(path)
    assert not [name for name in names if name.split(".")[0] in ("training", "calib", "tests")], here
    if here == "refit_rt":  # the front door names rooms lazily
        return
    wrong = [name for name in names if name.startswith("refit_rt.") and goes_up(here, name)]
    assert not wrong, f"{here} must not import {', '.join(wrong)}"


def test_no_imports_go_round() -> None:
    graph = {module: imported(path) & MODULES.keys() - {module} for module, path in MODULES.items()}
    graph.pop("refit_rt")
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_wrong_imports_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "refit_rt" / "geometry.py"
    path.parent.mkdir()
    path.write_text(
        "def late():\n    from refit_rt import pipeline\n"
        "    from refit_rt.fit.fitter import Fitter\n    import training.train\n"
    )
    assert imported(path) == {"refit_rt.pipeline", "refit_rt.fit.fitter", "training.train"}
    assert goes_up("refit_rt.geometry", "refit_rt.pipeline")
    assert goes_up("refit_rt.runners.cpu.loop", "refit_rt.runners.tensorrt.run")
    assert goes_up("refit_rt.bundle.read", "refit_rt.bundle.make")
    assert goes_up("refit_rt.track.one_camera", "refit_rt.motion.npz")
    assert not goes_up("refit_rt.fit.fitter", "refit_rt.fit.start")


@pytest.mark.parametrize(
    "module", ["refit_rt.pipeline", "refit_rt.__main__", "refit_rt.stream.subscribe", "refit_rt.follow"]
)
def test_what_runs_does_without_torch(module: str) -> None:
    code = f"import sys; sys.modules['torch'] = None; import {module}"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_only_the_network_and_what_makes_bundles_name_torch_at_import() -> None:
    for module, path in MODULES.items():
        tops = [node for node in ast.parse(path.read_text()).body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = {a.name for n in tops if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module or "" for n in tops if isinstance(n, ast.ImportFrom)}
        if any(name.split(".")[0] == "torch" for name in names):
            assert module.removeprefix("refit_rt.").startswith(TORCH_IS_AT_HOME), module


def test_the_front_door_costs_nothing_until_a_name_is_asked_for() -> None:
    heavy = ("numpy", "cv2", "numba", "openvino", "scipy", "zmq", "torch", "msgspec")
    code = (
        "import sys, refit_rt\n"
        f"found = [m for m in {heavy!r} if m in sys.modules]\nassert not found, found\n"
        "assert refit_rt.People.__name__ == 'People'\n"
        "assert 'cv2' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_help_needs_nothing_heavy() -> None:
    heavy = ("cv2", "numba", "openvino", "scipy", "zmq", "torch")
    code = (
        "import sys\nfrom refit_rt.__main__ import command\n"
        "try: command(['run', '--help'])\nexcept SystemExit: pass\n"
        f"found = [m for m in {heavy!r} if m in sys.modules]\nassert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
