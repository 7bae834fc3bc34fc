"""The contestants of `bench loop` compute the same, and medians are taken of what was called."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the loop is compared with torch: pip install refit-rt[train]")

from refit_rt import bench  # noqa: E402
from refit_rt.bench_loop import contestants  # noqa: E402


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
