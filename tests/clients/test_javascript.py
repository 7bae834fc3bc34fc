"""The JavaScript client in Node: it reads what Python writes, refuses everything else, and hears an outlet."""

import json
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refit_rt.body.smpl import JOINT_NAMES, PARENTS
from refit_rt.commands.client import CLIENTS
from refit_rt.stream import wire
from refit_rt.stream.publish import Publisher
from refit_rt.types import PUBLISHED_FIELDS
from tests.clients.conftest import RUN, WRONG, crowd, message_of
from tests.support.fakes import people
from tests.support.paths import DATA, ROOT

CLIENT = CLIENTS / "javascript" / "refit_rt.js"
SCRIPT = Path(__file__).with_name("client.mjs")
NODE = shutil.which("node") or ""
MUTATED = 100_000

pytestmark = pytest.mark.skipif(not NODE, reason="needs node")


def node(*words: object, timeout_s: float = 60) -> Any:
    """What the script prints, from JSON."""
    command = [NODE, SCRIPT, CLIENT, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_it_reads_what_python_writes(messages: list[Path]) -> None:
    read = node("dump", *messages)
    assert (tuple(read["NAMES"]), tuple(read["PARENTS"])) == (JOINT_NAMES, PARENTS)
    for count, message in zip((0, 1, 3), read["messages"], strict=True):
        sent, about = crowd(count), message["about"]
        assert message["people"]["count"] == count
        for name in PUBLISHED_FIELDS:
            np.testing.assert_array_equal(np.array(message["people"][name]), getattr(sent, name).ravel())
        assert [about[key] for key in ("status", "camera", "body", "bundle")] == ["live", sent.camera, "free", "edge"]
        facts = {"frame": 7, "dropped": 2, "captured_unix_s": 1.7e9 + 100.125, "time_s": 0.125, "age_s": 0.02}
        assert {key: about[key] for key in facts} == facts
        assert (about["width_px"], about["height_px"], about["focal_px"]) == (640, 480, 800)
        assert (tuple(about["cameras"]), tuple(about["floor"])) == (sent.cameras, sent.floor)
        np.testing.assert_allclose(about["world_from_cameras"], sent.world_from_cameras, atol=1e-6)


def test_a_message_of_an_earlier_build_is_read() -> None:
    read = node("dump", DATA / "stream" / "people_1_first.bin")["messages"][0]
    assert (read["people"]["count"], read["about"]["camera"]) == (2, "front")
    assert [read["people"][name] for name in ("views", "contacts")] == [None, None]
    assert [read["about"][name] for name in ("cameras", "world_from_cameras", "floor")] == [None] * 3


def test_it_finds_the_golden_values() -> None:
    read = node("dump", DATA / "stream" / "people_1.bin")["messages"][0]
    expected = json.loads((DATA / "stream" / "people_1.json").read_text(encoding="utf-8"))
    for name, array in expected["arrays"].items():
        np.testing.assert_array_equal(np.float32(read["people"][name]), np.float32(np.ravel(array["values"])))
    assert read["about"]["camera"] == expected["metadata"]["camera"]
    assert read["about"]["missing"] == expected["metadata"]["missing"]


@pytest.mark.parametrize(("message", "text"), WRONG)
def test_it_says_what_is_wrong(message: bytes, text: str, tmp_path: Path) -> None:
    path = tmp_path / "message.bin"
    path.write_bytes(message)
    done = subprocess.run([NODE, SCRIPT, CLIENT, "dump", path], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "DecodeError" in done.stderr
    assert text in done.stderr


def test_fields_that_it_does_not_know_are_skipped(tmp_path: Path) -> None:
    about, arrays = wire.unpack(message_of(1))
    rows = {name: (wire.TENSORS[name], array) for name, array in arrays.items()}
    path = tmp_path / "message.bin"
    path.write_bytes(wire.pack(about | {"later": "ü"}, {"touches": ("U8", np.ones((1, 3), np.uint8)), **rows}))
    assert node("dump", path)["messages"][0]["about"]["later"] == "ü"


def test_mutated_messages_throw_only_its_own_error(messages: list[Path]) -> None:
    counts = node("fuzz", MUTATED, 1, *messages)
    assert counts["accepted"] + counts["refused"] == MUTATED
    assert counts["accepted"] > MUTATED / 100
    assert counts["refused"] > MUTATED / 2


def test_only_the_newest_message_is_kept(messages: list[Path]) -> None:
    said = node("newest", *messages)
    assert (said["before"], said["taken"], said["again"], said["bad"]) == (None, 3, None, None)
    assert (said["received"], said["replaced"], said["faults"]) == (5, 3, 1)
    assert "not a refit_rt message" in said["error"]
    assert (said["opened"], said["after"]) == (2, 2)  # a lost connection is opened again, a closed one is not


def test_it_hears_the_websocket_outlet() -> None:
    flag = "--experimental-websocket"
    if subprocess.run([NODE, flag, "-e", "new WebSocket('ws://127.0.0.1:9')"], capture_output=True, check=False).stderr:
        pytest.skip("needs a Node with WebSocket: 20.10 or newer")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    publisher = Publisher("tcp://127.0.0.1:*")
    outlet = f"websocket://127.0.0.1:{port}"
    bridge = [sys.executable, "-m", "refit_rt", "bridge", outlet, "--address", publisher.address]
    reader = [NODE, flag, SCRIPT, CLIENT, "live", f"ws://127.0.0.1:{port}"]
    sending = subprocess.Popen(bridge, stdout=subprocess.DEVNULL, cwd=ROOT)
    reading = subprocess.Popen(reader, stdout=subprocess.PIPE, text=True)
    try:
        end_s = time.monotonic() + 40
        while reading.poll() is None and time.monotonic() < end_s:
            for status in ("live", "ended"):
                publisher.send(wire.encode(people([3, 5]), RUN, 101.0, status))
                time.sleep(0.05)
        message = json.loads(reading.communicate(timeout=5)[0])
        assert message["about"]["status"] == "ended"
        assert message["about"]["frame"] == 7
    finally:
        for process in (reading, sending):
            process.kill()
            process.communicate()
        publisher.close()
