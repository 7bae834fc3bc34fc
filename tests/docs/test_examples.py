"""Every numbered example runs as its page says, and prints what is there."""

import re
import socket
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from refit_rt import load_body
from refit_rt.files import ASSETS
from tests.support.paths import ROOT

EXAMPLES = ROOT / "docs" / "examples"
CLIP, TRUTH = ASSETS / "demo" / "demo.mp4", ASSETS / "demo" / "demo_truth.npz"
FRAME = 60


def run(name: str, *arguments: str | Path, cwd: Path = ROOT) -> str:
    command = [sys.executable, str(EXAMPLES / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, timeout=120,
                          env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": str(Path.home())})  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    video = cv2.VideoCapture(str(CLIP))
    return [video.read()[1] for _ in range(FRAME + 8)]


def test_one_picture_gives_the_joints_of_its_person(frames, tmp_path):
    cv2.imwrite(str(tmp_path / "picture.png"), frames[FRAME])
    shown = run("01_picture.py", tmp_path / "picture.png")
    assert "people found: 1" in shown
    truth = np.load(TRUTH)
    row = int(np.flatnonzero(truth["frame"] == FRAME)[0])
    head = np.array(re.findall(r"head.*\[ *([\d.]+) +([\d.]+)\]", shown)[0], float)
    assert np.linalg.norm(head - truth["joints_px"][row, 15]) < 30  # the person is 500 px tall


def test_a_loop_over_a_video_follows_one_person(frames, tmp_path):
    writer = cv2.VideoWriter(str(tmp_path / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 30, (1280, 720))
    for image in frames[FRAME:]:
        writer.write(image)
    writer.release()
    lines = run("02_webcam.py", tmp_path / "clip.mp4").splitlines()
    assert len(lines) == 8
    assert all(line.startswith("person 0: right wrist at [") for line in lines)


def test_a_subscriber_hears_the_stream_to_its_end(frames, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{probe.getsockname()[1]}"
    cv2.imwrite(str(tmp_path / "picture.png"), frames[FRAME])
    options = ["--capture.pace", "live", "--capture.loop", "--publish.address", address]
    publisher = subprocess.Popen([sys.executable, "-m", "refit_rt", "run", str(tmp_path / "picture.png"), *options],
                                 cwd=ROOT, stderr=subprocess.PIPE, text=True)  # fmt: skip
    with publisher:
        try:
            assert publisher.stderr is not None
            while "first person published" not in (line := publisher.stderr.readline()):
                assert line, "the publisher ended"
            subscriber = subprocess.Popen([sys.executable, str(EXAMPLES / "03_subscribe.py"), address], cwd=ROOT,
                                          stdout=subprocess.PIPE, text=True)  # fmt: skip
            with subscriber:
                assert subscriber.stdout is not None
                shown = [subscriber.stdout.readline() for _ in range(4)]
                publisher.terminate()
                shown += subscriber.communicate(timeout=30)[0].splitlines()
        finally:
            publisher.kill()
    assert re.match(r"frame \d+, live, \d+ ms old when it was sent", shown[0])
    assert "person 0 at [" in shown[1]
    assert ", ended, " in shown[-1]


def test_a_recording_is_read_with_numpy_alone():
    shown = run("04_recording.py", TRUTH)
    assert "300 rows, 30.0 frames per second, body free" in shown
    assert re.search(r"person 0: 0\.00 to 9\.97 s, the pelvis travels \d\.\d\d m", shown)


def test_the_mesh_of_a_pose_is_a_person(tmp_path):
    shown = run("05_mesh.py", TRUTH, "0", tmp_path / "person.obj")
    height = float(re.findall(r"([\d.]+) m from", shown)[0])
    assert 1.4 < height < 1.9
    kinds = [line[0] for line in (tmp_path / "person.obj").read_text().splitlines()]
    body = load_body()
    assert (kinds.count("v"), kinds.count("f")) == (len(body.template), len(body.faces))


def test_every_example_has_a_test():
    names = {path.name for path in EXAMPLES.glob("*.py")}
    tested = set(re.findall(r'"(\d\d_\w+\.py)"', Path(__file__).read_text()))
    assert names == tested
