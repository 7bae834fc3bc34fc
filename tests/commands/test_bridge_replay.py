"""The verbs bridge and replay: a recording comes out of a stream, and of a bridge, as it went in."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from refit_rt.__main__ import command
from refit_rt.body.smpl import load_body
from refit_rt.motion.npz import MotionWriter, read_motion
from tests.support.dancer import FPS, danced
from tests.support.paths import ROOT

FRAMES = 24


@pytest.fixture(scope="module")
def recording(tmp_path_factory) -> Path:
    """Persons 1 and 4; nobody in frames 8 to 10."""
    path, body = tmp_path_factory.mktemp("recording") / "motion.npz", load_body()
    writer = MotionWriter(path, FPS, body.name, "edge")
    for k in range(FRAMES):
        writer.add(danced(body, [] if 8 <= k < 11 else [1, 4], k))
    writer.close()
    return path


def test_a_replayed_recording_reaches_json_through_a_bridge(recording, tmp_path):
    address = f"ipc://{tmp_path}/stream"
    verb = [sys.executable, "-m", "refit_rt"]
    bridge = [*verb, "bridge", "json://stdout?axes=gltf", "--address", address, "--once"]
    replay = [*verb, "replay", recording, "--publish.address", address]
    # A subscriber needs a moment to find a publisher, and the first round may be over by then.
    with subprocess.Popen(bridge, cwd=ROOT, stdout=subprocess.PIPE, text=True) as heard:
        assert heard.stdout is not None
        assert heard.stdout.readline().startswith("listening to")
        done = subprocess.run([*replay, "--speed", "0.5"], cwd=ROOT, capture_output=True, text=True, check=True)
        lines = heard.stdout.read().splitlines()
    assert heard.returncode == 0
    assert f"{FRAMES - 3} frames published" in done.stdout
    heard_lines = [json.loads(line) for line in lines if line.startswith("{")]
    assert len(heard_lines) > FRAMES
    assert {line["id"] for line in heard_lines} == {1, 4}
    assert not [line for line in heard_lines if 8 <= line["frame"] < 11]
    motion = read_motion(recording)
    for line in heard_lines:
        row = np.flatnonzero((motion.frame == line["frame"]) & (motion.person == line["id"]))[0]
        np.testing.assert_allclose(np.reshape(line["joints"], (24, 3)), motion.joints_world[row], atol=1e-3)
        assert line["time_s"] == pytest.approx(line["frame"] / FPS, abs=1e-3)
    assert "outlet json://stdout?axes=gltf: " in lines[-1]


def test_what_cannot_be_sent_is_refused_in_one_line(recording, tmp_path, capsys):
    def refused(*arguments: str) -> str:
        assert command(list(arguments)) == 2
        return capsys.readouterr().err

    assert "names no outlet" in refused("bridge")
    assert "'osc' is no kind of outlet" in refused("bridge", "osc://127.0.0.1")
    assert "is there twice" in refused("bridge", "vmc", "vmc://127.0.0.1:39539?people=2")
    assert "a speed is more than 0" in refused("replay", str(recording), "--speed", "0")
    assert "a recording has no pictures" in refused(
        "replay", str(recording), "--publish.pictures", "tcp://127.0.0.1:5561"
    )
    assert "no such file" in refused("replay", str(tmp_path / "none.npz"))
    assert "is no kind of outlet" in refused("replay", str(recording), "--publish.outlets", "fbx://127.0.0.1")
    assert "is no kind of outlet" in refused("run", "0", "--publish.outlets", "fbx://127.0.0.1")
