"""The C++ client, compiled: it reads what Python writes, refuses everything else, and its example hears a stream."""

import json
import shutil
import struct
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from refit_rt.axes import AXES
from refit_rt.commands.client import CLIENTS
from refit_rt.stream import wire
from refit_rt.stream.bridges.bodies import bodies_of
from refit_rt.stream.publish import Publisher
from refit_rt.types import PUBLISHED_FIELDS
from tests.clients.conftest import RUN, WRONG, crowd, message_of
from tests.support.fakes import people
from tests.support.paths import DATA

HERE, CLIENT = Path(__file__).parent, CLIENTS / "cpp"
GXX, CLANG = shutil.which("g++") or "", shutil.which("clang++") or ""
FLAGS = ("-std=c++17", "-Wall", "-Wextra", "-Werror", f"-I{CLIENT}")
MUTATED = 20_000  # 100,000 pass as well, and take 25 s
GUIDED = 100_000

pytestmark = pytest.mark.skipif(not GXX, reason="needs g++")


def build(source: Path, folder: Path, *more: str) -> Path:
    program = folder / source.stem
    subprocess.run([GXX, *FLAGS, str(source), "-o", str(program), *more], check=True, timeout=200)
    return program


@pytest.fixture(scope="module")
def dump(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program that prints a message as JSON."""
    return build(HERE / "dump.cpp", tmp_path_factory.mktemp("cpp"))


def said(dump: Path, message: bytes, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    path = tmp_path / "message.bin"
    path.write_bytes(message)
    return subprocess.run([dump, path], capture_output=True, text=True, timeout=20, check=False)


@pytest.mark.parametrize("count", [0, 1, 3])
def test_it_reads_what_python_writes(dump: Path, count: int, tmp_path: Path) -> None:
    done = said(dump, message_of(count), tmp_path)
    assert done.returncode == 0, done.stderr
    read, sent = json.loads(done.stdout.replace('"links"', r"\"links\"")), crowd(count)
    for name in PUBLISHED_FIELDS:
        np.testing.assert_array_equal(read[name], getattr(sent, name).ravel())
    assert [read[key] for key in ("status", "camera", "body", "bundle")] == ["live", sent.camera, "free", "edge"]
    facts = [7, 2, 1.7e9 + 100.125, 100.125, 0.125, 0.02, 640, 480, 800, *sent.centre_px]
    np.testing.assert_allclose(read["numbers"], facts, rtol=1e-15)
    assert read["cameras"] == list(sent.cameras)
    np.testing.assert_allclose(read["world_from_cameras"], np.ravel(sent.world_from_cameras), atol=1e-6)
    assert tuple(read["floor"]) == sent.floor


def test_a_message_of_an_earlier_build_is_read(dump: Path, tmp_path: Path) -> None:
    read = json.loads(said(dump, (DATA / "stream" / "people_1_first.bin").read_bytes(), tmp_path).stdout)
    assert (len(read["ids"]), read["camera"]) == (2, "front")
    assert [read[name] for name in ("views", "contacts", "cameras", "world_from_cameras", "floor")] == [[]] * 5


def test_its_axes_are_those_of_python(dump: Path, tmp_path: Path) -> None:
    read = json.loads(said(dump, message_of(3), tmp_path).stdout.replace('"links"', r"\"links\""))
    bodies = bodies_of(wire.decode(message_of(3)).people)
    for name, axes in AXES.items():
        points = np.reshape(read[f"{name}_points"], (3, 24, 3))
        np.testing.assert_allclose(points, axes.points(bodies.joints), rtol=1e-6)
        mine, theirs = np.reshape(read[f"{name}_quaternions"], (3, 24, 4)), axes.quaternions(bodies.rotations)
        apart = np.degrees(2 * np.arccos(np.clip(np.abs((mine * theirs).sum(-1)), 0, 1)))
        assert apart.max() < 0.01  # degrees; float32 joints say how the camera is turned
        assert mine[..., 3].min() >= 0


def test_it_finds_the_golden_values(dump: Path, tmp_path: Path) -> None:
    read = json.loads(said(dump, (DATA / "stream" / "people_1.bin").read_bytes(), tmp_path).stdout)
    expected = json.loads((DATA / "stream" / "people_1.json").read_text(encoding="utf-8"))
    for name, array in expected["arrays"].items():
        np.testing.assert_array_equal(np.float32(read[name]), np.float32(np.ravel(array["values"])))
    assert read["camera"] == expected["metadata"]["camera"]


@pytest.mark.parametrize(("message", "text"), WRONG)
def test_it_says_what_is_wrong(dump: Path, message: bytes, text: str, tmp_path: Path) -> None:
    done = said(dump, message, tmp_path)
    assert done.returncode == 1
    assert text in done.stderr


def test_fields_that_it_does_not_know_are_skipped(dump: Path, tmp_path: Path) -> None:
    about, arrays = wire.unpack(message_of(1))
    rows = {name: (wire.TENSORS[name], array) for name, array in arrays.items()}
    newer = wire.pack(about | {"later": "ü"}, {"touches": ("U8", np.ones((1, 4), np.uint8)), **rows})
    assert said(dump, newer, tmp_path).returncode == 0


@pytest.mark.slow
def test_mutated_messages_neither_crash_it_nor_take_memory(messages: list[Path], tmp_path: Path) -> None:
    sanitized = ("-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    try:
        fuzz = build(HERE / "fuzz.cpp", tmp_path, *sanitized)
    except subprocess.CalledProcessError:
        probe = tmp_path / "probe.cpp"
        probe.write_text("int main() {}")
        if subprocess.run([GXX, *sanitized, probe, "-o", tmp_path / "probe"], check=False).returncode:
            pytest.skip("needs g++'s sanitizers")
        raise
    done = subprocess.run(
        [fuzz, str(MUTATED), "1", *messages], capture_output=True, text=True, timeout=200, check=False
    )
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["accepted"] + counts["refused"] == MUTATED
    assert counts["accepted"] > MUTATED / 100  # most mutations of numbers leave a message, most of the header do not
    assert counts["refused"] > MUTATED / 2


def test_the_example_hears_a_live_stream(tmp_path: Path) -> None:
    try:
        example = build(CLIENT / "example.cpp", tmp_path, "-lzmq")
    except subprocess.CalledProcessError:
        probe = tmp_path / "probe.cpp"
        probe.write_text("#include <zmq.h>\nint main() { return zmq_errno(); }")
        if subprocess.run([GXX, probe, "-o", tmp_path / "probe", "-lzmq"], check=False).returncode:
            pytest.skip("needs libzmq's header: apt install libzmq3-dev")
        raise
    publisher = Publisher("tcp://127.0.0.1:*")
    process = subprocess.Popen([example, publisher.address], stdout=subprocess.PIPE, text=True)
    try:
        end_s = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < end_s:
            for status in ("live", "live", "ended"):
                publisher.send(wire.encode(people([3, 5]), RUN, 101.0, status))
                time.sleep(0.02)
        lines = process.communicate(timeout=5)[0].splitlines()
        assert process.returncode == 0
        assert "people 2 " in lines[-1]
        assert "id 5 at (" in lines[-1]
        assert lines[-1].startswith("frame 7  ended")
    finally:
        process.kill()
        process.communicate()
        publisher.close()


@pytest.mark.slow
@pytest.mark.skipif(not CLANG, reason="needs clang++ with libFuzzer")
def test_a_fuzzer_that_looks_for_new_code_finds_no_fault(tmp_path: Path) -> None:
    fuzzer, seeds = tmp_path / "fuzzer", tmp_path / "seeds"
    flags = ("-std=c++17", "-O1", "-fsanitize=fuzzer,address,undefined", "-fno-sanitize-recover=all", f"-I{CLIENT}")
    made = [CLANG, *flags, HERE / "fuzz_guided.cpp", "-o", fuzzer]
    if subprocess.run(made, capture_output=True, timeout=200, check=False).returncode:
        probe = tmp_path / "probe.cpp"
        probe.write_text('extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }')
        made = [CLANG, *flags, probe, "-o", fuzzer]
        assert subprocess.run(made, capture_output=True, check=False).returncode, "the fuzzer does not compile"
        pytest.skip("needs libFuzzer")
    seeds.mkdir()
    for count in (0, 1, 3):
        message = message_of(count)
        end = 8 + struct.unpack_from("<Q", message)[0]
        (seeds / f"whole{count}").write_bytes(message)
        (seeds / f"parts{count}").write_bytes(b"\0" + message[8:end] + b"\0" + message[end:])
    options = (f"-runs={GUIDED}", "-seed=1", "-max_len=8192", "-malloc_limit_mb=64", "-timeout=5")
    done = subprocess.run(
        [fuzzer, *options, seeds], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert f"Done {GUIDED} runs" in done.stderr
