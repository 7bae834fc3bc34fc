"""The contestants of `bench loop` compute the same, and medians are taken of what was called."""

import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the loop is compared with torch: pip install refit-rt[train]")

from refit_rt import config  # noqa: E402
from refit_rt.commands import bench  # noqa: E402
from refit_rt.commands.bench.loop import contestants  # noqa: E402
from refit_rt.errors import UserError  # noqa: E402


def test_all_contestants_turn_the_body_the_same_way() -> None:
    official, markers_only, full, compiled = (run() for run in contestants(2).values())
    truth = markers_only[-1].rotations[0].numpy()
    assert np.abs(official[-1].rotations[0].numpy() - truth).max() < 1e-5
    assert np.abs(official[-1].markers.numpy() - markers_only[-1].markers.numpy()).max() < 1e-5
    assert np.abs(compiled.rotations - truth).max() < 1e-5
    assert np.abs(full.rotations - truth).max() < 1e-3  # its largest matrix is not rounded to half precision


def test_contestants_are_called_in_turns() -> None:
    called: list[str] = []
    medians = bench.medians_ms({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, rounds=2)
    assert "".join(called) == "aaabbb" + 2 * (bench.BLOCK * "a" + bench.BLOCK * "b")
    assert set(medians) == {"a", "b"}


def test_the_clock_of_a_live_measurement_starts_at_the_first_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "LIVE_SECONDS", 0.05)
    pipeline, stop, memory = SimpleNamespace(frames=0), threading.Event(), []
    watcher = threading.Thread(target=bench._watch, args=(pipeline, stop, memory), daemon=True)
    watcher.start()
    assert not stop.wait(0.5)  # still loading
    pipeline.frames = 1
    assert stop.wait(10)
    assert len(memory) == 1


def test_a_live_measurement_publishes_whatever_the_settings_say_and_tells_when_it_was_cut_short(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Audience:
        def __init__(self, address: str) -> None: ...
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    class Pipeline:
        frames = 0

        def __init__(self, settings: config.Config) -> None:
            assert settings.publish.enabled

        def run(self, stop: threading.Event) -> None:
            time.sleep(0.1)

    monkeypatch.setattr(bench, "Audience", Audience)
    monkeypatch.setattr(bench, "Pipeline", Pipeline)
    with pytest.raises(UserError, match="ended before there was anything to measure"):
        bench.live(config.Config(publish=config.Publish(enabled=False)))
