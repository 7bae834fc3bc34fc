"""Engines are built once for each set of dependencies, are cached whole, and use the plugins that exist."""

import logging
from dataclasses import replace
from pathlib import Path

import msgspec
import numpy as np
import pytest

pytest.importorskip("torch", reason="the bundles of this test are made with torch: pip install refit-rt[train]")
onnx = pytest.importorskip("onnx", reason="engines are built from files made with onnx: pip install refit-rt[tensorrt]")
pytest.importorskip("onnxruntime", reason="takes the place of TensorRT")

from refit_rt.bundle.read import Bundle  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402
from refit_rt.runners.tensorrt import cache, check  # noqa: E402
from refit_rt.runners.tensorrt.cuda import Device  # noqa: E402
from refit_rt.runners.tensorrt.engines import made_of  # noqa: E402
from tests.support.engine_calls import F16, engines_of, plans, runner_of  # noqa: E402
from tests.support.fake_tensorrt import Library  # noqa: E402


def test_engines_are_built_once(library, random_bundles):
    first = runner_of(library, random_bundles["edge"])
    assert len(library.built) == 2
    assert sorted(first.paths) == plans()
    runner_of(library, random_bundles["edge"])
    assert len(library.built) == 2


def test_the_facts_beside_an_engine_name_its_bundle_precision_and_gpu(library, random_bundles):
    runner = runner_of(library, random_bundles["edge"], F16)
    facts = msgspec.json.decode(cache.facts_path(runner.paths[1]).read_bytes())
    assert facts["bundle"] == "edge"
    assert (facts["precision"], facts["plugins"]) == ("f16", "none")
    assert (facts["tensorrt"], facts["gpu"], facts["driver"]) == ("11.4.0.106", "Fake GPU", "13.0")


def test_everything_that_an_engine_depends_on_changes_its_key(library, random_bundles):
    edge, gpu = random_bundles["edge"], library.cuda.device
    other_body = replace(edge, body=replace(edge.body, digest="another"))
    other_floor = replace(edge, card=msgspec.structs.replace(edge.card, scale_floor=0.2))

    def key(bundle: Bundle = edge, half: bool = False, version: str = "11.4.0.106", device: Device = gpu) -> list[Path]:
        """The files of both engines."""
        return [
            cache.engine_path(name, made_of(name, bundle, half, "none"), b"", version, device)
            for name in ("encoder", "step")
        ]

    known = key()
    assert known == key()
    for changed in (
        key(random_bundles["official"]),
        key(half=True),
        key(version="11.4.0.107"),
        key(device=replace(gpu, name="Fake GPU 2")),
        key(device=replace(gpu, capability="9.0")),
        key(device=replace(gpu, processors=8)),
        key(device=replace(gpu, driver="13.1")),
    ):
        assert all(new != old for new, old in zip(changed, known, strict=True))
    for bundle in (other_body, other_floor):  # these change only the step's key
        assert [new == old for new, old in zip(key(bundle), known, strict=True)] == [True, False]


def test_only_the_steps_key_changes_with_the_plugins_library(library, random_bundles, tmp_path):
    files = []
    for content in ("BatchedGRU", "BatchedGRU\n\n"):
        (tmp_path / "plugins.so").write_text(content)
        library.creators.clear()
        files.append(engines_of(library, random_bundles["edge"], F16, tmp_path / "plugins.so").paths)
    assert files[0][0] == files[1][0]
    assert files[0][1] != files[1][1]


@pytest.mark.parametrize("damage", ["truncated", "emptied", "facts lost", "facts garbled", "of another TensorRT"])
def test_a_damaged_engine_is_deleted_and_built_again(library, random_bundles, caplog, damage):
    path = runner_of(library, random_bundles["edge"]).paths[1]
    content, facts = path.read_bytes(), cache.facts_path(path)
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "facts lost":
        facts.unlink()
    elif damage == "facts garbled":
        facts.write_text("{")
    else:
        cache.write_engine(path, b"PLAN 10.3.0.0\n" + content.partition(b"\n")[2], {})
    with caplog.at_level(logging.WARNING, "refit_rt"):
        runner_of(library, random_bundles["edge"])
    assert len(library.built) == 3
    assert path.read_bytes() == content
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "deleted and built again" in warnings[0]


def test_an_engine_is_written_whole_or_not_at_all(library, random_bundles, monkeypatch):
    folder = cache.folder()
    cache.write(folder / "one.plan", b"old")

    def breaks(self: Path, target: Path) -> Path:
        assert Path(self).parent == target.parent  # a rename within a folder is atomic
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", breaks)
    with pytest.raises(
        UserError, match=r"one\.plan: cannot be written \(No space left on device\). Set REFIT_RT_CACHE"
    ):
        cache.write(folder / "one.plan", b"new")
    assert [(path.name, path.read_bytes()) for path in folder.iterdir()] == [("one.plan", b"old")]


def test_the_timings_of_one_build_are_passed_to_the_next(library, random_bundles):
    runner_of(library, random_bundles["edge"])
    assert library.timings == [b"", b"timed "]
    assert cache.timing_path(library.version, library.cuda.device).read_bytes() == b"timed timed "


def test_the_cpus_outputs_are_computed_once_and_again_when_damaged(random_bundles, tmp_path, monkeypatch):
    monkeypatch.setenv("REFIT_RT_CACHE", str(tmp_path))
    made = []

    def truth(bundle: Bundle) -> dict[str, np.ndarray]:
        made.append(bundle)
        return {"maps": np.ones(3)}

    monkeypatch.setattr(check, "made_truth", truth)
    for damage in (None, None, b"PK\x03\x04 half a file", b"not an archive"):
        if damage:
            next((tmp_path / "tensorrt").glob("truth-*")).write_bytes(damage)
        np.testing.assert_array_equal(check.truth_of(random_bundles["edge"])["maps"], 1)
    assert len(made) == 3


def nodes_built(library: Library) -> list[str]:
    return [node.op_type for node in onnx.load_from_string(library.built[-1]).graph.node if node.domain == "refit"]


@pytest.mark.parametrize(
    ("holds", "nodes"), [("BatchedGRU Feedback", ["Feedback", "BatchedGRU"]), ("BatchedGRU", ["BatchedGRU"])]
)
def test_a_step_uses_the_plugins_that_the_library_holds(library, random_bundles, tmp_path, holds, nodes):
    (tmp_path / "plugins.so").write_text(holds)
    for _ in range(2):  # the same process loads the library a second time
        engines = engines_of(library, random_bundles["edge"], F16, tmp_path / "plugins.so")
        assert nodes_built(library) == nodes
        assert engines.uses_plugins
    assert library.loaded == [str(tmp_path / "plugins.so")]
    assert engines.plan.maps.dtype == (np.float16 if "Feedback" in holds else np.float32)


def test_an_unusable_plugins_library_is_refused_with_its_cure(library, random_bundles, tmp_path):
    with pytest.raises(UserError, match=r"fit.plugins: .*gone\.so does not exist. Build the plugins for this machine"):
        engines_of(library, random_bundles["edge"], F16, tmp_path / "gone.so")
    (tmp_path / "other.so").write_text("AnotherPlugin")
    with pytest.raises(UserError, match=r"other\.so cannot be used \(it contains no plugin of refit_rt\). Build the"):
        engines_of(library, random_bundles["edge"], F16, tmp_path / "other.so")
