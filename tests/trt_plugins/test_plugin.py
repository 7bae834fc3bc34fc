"""The TensorRT plugins do on the host what TensorRT will ask of them, and load through its Python bindings.

Neither TensorRT nor a GPU is needed: the kernels inside are compiled for the CPU, and a registry of one page stands in
for the library. TensorRT's headers are needed, and are not part of this repository: TENSORRT_INCLUDE_DIR names them.
"""

import ctypes
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT

SUPPORT = ROOT / "tests" / "support"
SHIM, PLUGINS = SUPPORT / "trt_shim", ROOT / "trt_plugins"
FLAGS = ["-std=c++17", "-O1", "-U_FORTIFY_SOURCE", "-fno-strict-aliasing", "-fvisibility=hidden", "-fPIC"]
QUIET = ["-Wno-unknown-pragmas", "-Wno-deprecated-declarations"]
SOURCES = ["batched_gru.cu", "feedback.cu", "batched_gru_plugin.cpp", "feedback_plugin.cpp", "creators.cpp"]


@pytest.fixture(scope="module")
def headers() -> Path:
    """The folder of NvInferRuntime.h."""
    named = os.environ.get("TENSORRT_INCLUDE_DIR")
    if named is None or not (Path(named) / "NvInferRuntime.h").is_file():
        pytest.skip("needs TensorRT's headers: set TENSORRT_INCLUDE_DIR to the folder of NvInferRuntime.h")
    if shutil.which("g++") is None:
        pytest.skip("needs g++")
    return Path(named)


def compiled(headers: Path, output: Path, *arguments: str | Path) -> Path:
    includes = ["-I", SHIM, "-I", PLUGINS, "-isystem", headers]
    command = ["g++", *FLAGS, *QUIET, *includes, "-x", "c++", *arguments, "-o", output, "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return output


@pytest.fixture(scope="module")
def plugins(headers, tmp_path_factory) -> Path:
    """The plugin library, its kernels for the CPU, its exports as in the real one."""
    library = tmp_path_factory.mktemp("plugins") / "librefit_plugins.so"
    exports = [f"-Wl,--version-script={PLUGINS / 'exports.map'}", "-Wl,--no-undefined"]
    sources = [*(PLUGINS / name for name in SOURCES), SHIM / "simt.cpp"]
    return compiled(headers, library, "-shared", *exports, *sources)


def test_the_plugins_pass_the_harness_down_to_enqueue_in_a_graph(headers, plugins, tmp_path):
    harness = compiled(headers, tmp_path / "harness", PLUGINS / "harness" / "harness.cpp")
    done = subprocess.run([harness, plugins], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("refusals, enqueue in a graph") == 3  # the GRU; Feedback without and with keypoints


def test_the_library_shows_its_entry_points_and_wants_nothing_of_tensorrt(plugins):
    ctypes.CDLL(str(plugins), mode=os.RTLD_NOW)  # fails for a symbol that is not there
    if (nm := shutil.which("nm")) is None:
        pytest.skip("needs nm")
    lines = subprocess.run([nm, "-D", plugins], capture_output=True, text=True, check=True).stdout.splitlines()
    defined = {line.split()[-1] for line in lines if " T " in line}
    assert defined == {"getCreators", "setLoggerFinder", "refit_batched_gru", "refit_feedback"}
    assert not [line for line in lines if " U " in line and "@" not in line]  # what is left is of glibc, with versions


def bindings() -> str | None:
    return next((name for name in ("tensorrt", "tensorrt_bindings") if importlib.util.find_spec(name)), None)


LOADS = """
import sys
from tests.support.paths import ROOT
import numpy as np
from tests.support.paths import ROOT
trt = __import__(sys.argv[1])
registry = trt.get_plugin_registry()
registry.load_library(sys.argv[2])
kinds = {"f": (np.float32, trt.PluginFieldType.FLOAT32), "i": (np.int32, trt.PluginFieldType.INT32)}
wanted = {"BatchedGRU": ({"scale_floor": ("f", 0.15)}, 4), "Feedback": ({"crop_px": ("f", 256), "radius": ("i", 3)}, 1)}
for name, (fields, outputs) in wanted.items():
    creator = registry.get_creator(name, "1", "refit")
    assert [field.name for field in creator.field_names] == list(fields)
    given = [trt.PluginField(n, np.array([v], kinds[k][0]), kinds[k][1]) for n, (k, v) in fields.items()]
    plugin = creator.create_plugin("a node", trt.PluginFieldCollection(given), trt.TensorRTPhase.BUILD)
    assert plugin.get_capability_interface(trt.PluginCapabilityType.CORE).plugin_name == name
    assert plugin.get_capability_interface(trt.PluginCapabilityType.BUILD).num_outputs == outputs
print("loaded into", trt.__version__)
"""


def test_the_bindings_of_tensorrt_load_the_library_and_make_both_plugins(headers, plugins, tmp_path):
    if (name := bindings()) is None:
        pytest.skip("needs TensorRT's Python bindings: pip install --no-deps tensorrt-cu13-bindings")
    environment = dict(os.environ)
    if importlib.util.find_spec("tensorrt_libs") is None and name == "tensorrt_bindings":  # no TensorRT beside them
        stub = compiled(headers, tmp_path / "stub.so", "-shared", SUPPORT / "trt_registry_stub.cpp")
        for library in ("libnvinfer", "libnvinfer_plugin", "libnvonnxparser"):
            for major in (10, 11):
                (tmp_path / f"{library}.so.{major}").symlink_to(stub)
        environment["LD_LIBRARY_PATH"] = f"{tmp_path}:{environment.get('LD_LIBRARY_PATH', '')}"
    done = subprocess.run([sys.executable, "-c", LOADS, name, plugins], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("loaded into")


@pytest.mark.skipif(shutil.which("cmake") is None, reason="needs cmake")
def test_cmake_without_tensorrts_headers_says_where_to_get_them(tmp_path):
    environment = {name: value for name, value in os.environ.items() if name != "TENSORRT_INCLUDE_DIR"}
    nowhere = f"-DTENSORRT_INCLUDE_DIR={tmp_path}"
    command = ["cmake", "-S", PLUGINS, "-B", tmp_path / "build", nowhere]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode != 0
    assert "libnvinfer-headers-dev" in done.stderr
