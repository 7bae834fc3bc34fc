"""docs/stream.md is the schema: what it lists is what a message has, and every reader finds the same golden values."""

import ast
import json
import re
import shlex
import struct
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load

from refit_rt.__main__ import command
from refit_rt.axes import AXES
from refit_rt.body.smpl import JOINT_NAMES, PARENTS
from refit_rt.errors import UserError
from refit_rt.stream import wire
from refit_rt.stream.bridges.outlets import KINDS, check_rows
from refit_rt.stream.publish import Publisher
from refit_rt.types import ADDED_FIELDS
from tests.support.paths import ROOT

PAGE = (ROOT / "docs" / "stream.md").read_text(encoding="utf-8")
ENGINES = (ROOT / "docs" / "engines.md").read_text(encoding="utf-8")
GOLDEN = (ROOT / "tests" / "data" / "stream" / "people_1.bin").read_bytes()
FIRST = (ROOT / "tests" / "data" / "stream" / "people_1_first.bin").read_bytes()
EXPECTED = json.loads((ROOT / "tests" / "data" / "stream" / "people_1.json").read_text(encoding="utf-8"))
HEADER_END = 8 + struct.unpack_from("<Q", GOLDEN)[0]
DECODER, RECEIVER = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

Decoded = tuple[dict[str, str], dict[str, np.ndarray]]


def page_decode(blob: bytes) -> Decoded:
    """The decoder of the page, as it stands there."""
    names: dict[str, Any] = {}
    exec(DECODER, names)
    return names["decode"](blob)


def table(heading: str, first: str) -> list[list[str]]:
    """The cells of each row of the table below a heading of the page, without the row that starts with `first`."""
    section = re.split(r"^#+ ", PAGE.split(f"# {heading}\n")[1], flags=re.MULTILINE)[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", section, re.M)]
    return [row for row in rows if row[0] != first and not row[0].startswith("---")]


def names_of(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# --- the golden message


def assert_golden(arrays: dict[str, np.ndarray]) -> None:
    assert arrays.keys() == EXPECTED["arrays"].keys()
    for name, expected in EXPECTED["arrays"].items():
        dtype = wire.DTYPES[expected["dtype"]]
        assert arrays[name].dtype == dtype
        np.testing.assert_array_equal(arrays[name], np.array(expected["values"], dtype).reshape(expected["shape"]))


def test_the_golden_message_has_the_expected_values():
    about, arrays = wire.unpack(GOLDEN)
    assert about == EXPECTED["metadata"]
    assert_golden(arrays)
    message, people = wire.decode(GOLDEN), wire.decode(GOLDEN).people
    assert_golden({name: getattr(people, name) for name in wire.TENSORS})
    assert (message.status, message.body, message.bundle, message.age_s) == ("live", "free", "edge", 0.025)
    assert message.captured_unix_s == 1_800_000_000.4
    assert (people.camera, people.frame_index, people.captured_s, people.time_s) == ("front", 12, 5000.4, 0.4)
    assert (people.dropped, people.size, people.focal_px, people.centre_px) == (1, (1280, 720), 1080.0, (639.5, 359.5))
    assert people.missing == ("back", "left door")
    assert people.cameras == ("front", "back", "left door")
    assert people.floor == (0.0, 1.0, 0.0, 0.37)
    assert [len(place) for place in people.world_from_cameras] == [12, 12, 12]


def test_a_message_of_an_earlier_build_is_read_without_what_was_added():
    people, first = wire.decode(GOLDEN).people, wire.decode(FIRST).people
    for name in wire.TENSORS:
        expected = np.zeros_like(getattr(people, name)) if name in ADDED_FIELDS else getattr(people, name)
        np.testing.assert_array_equal(getattr(first, name), expected)
    assert (first.cameras, first.world_from_cameras, first.floor) == ((), (), None)
    about, arrays = page_decode(FIRST)
    lost = wire.unpack(GOLDEN)[0].keys() - about.keys() | (EXPECTED["arrays"].keys() - arrays.keys())
    assert lost == {row[0].strip("`") for row in table("Metadata", "key") if "added" in row[2]} | ADDED_FIELDS


def test_the_golden_places_turn_the_cameras_frame_into_the_world():
    people = wire.decode(GOLDEN).people
    place = np.reshape(people.world_from_cameras[0], (3, 4))
    world = people.joints_camera @ place[:, :3].T + place[:, 3]
    np.testing.assert_allclose(world, people.joints_world, atol=1e-3)  # metres; the values are rounded


def test_the_safetensors_library_reads_the_golden_message():
    assert_golden(load(GOLDEN))


def test_the_decoder_of_the_page_reads_the_golden_message():
    about, arrays = page_decode(GOLDEN)
    assert about == EXPECTED["metadata"]
    assert_golden(arrays)
    assert len([line for line in DECODER.splitlines() if line]) <= 20


def test_the_encoder_writes_the_golden_message():
    message = wire.decode(GOLDEN)
    run = wire.Run(1.8e9 - 5000.0, message.body, message.bundle)
    assert wire.encode(message.people, run, message.people.captured_s + message.age_s) == GOLDEN


def test_the_golden_joints_are_where_the_page_places_them_in_the_picture():
    about, arrays = wire.unpack(GOLDEN)
    x, y, z = np.moveaxis(arrays["joints_camera"].astype(float), -1, 0)
    focal, centre_x, centre_y = (float(about[key]) for key in ("focal_px", "centre_x_px", "centre_y_px"))
    expected = np.stack([focal * x / z + centre_x, focal * y / z + centre_y], -1)
    np.testing.assert_allclose(arrays["joints_px"], expected, atol=0.1)  # px; the values are rounded


def test_the_receiver_of_the_page_prints_what_is_published(tmp_path, capsys):
    address, stop = f"ipc://{tmp_path}/stream", threading.Event()
    publisher = Publisher(address)

    def publish() -> None:
        while not stop.wait(0.01):
            publisher.send(GOLDEN)

    sender = threading.Thread(target=publish)
    sender.start()
    code = RECEIVER.replace("tcp://127.0.0.1:5560", address).replace("while True", "for _ in range(2)")
    names: dict[str, Any] = {"decode": page_decode}
    try:
        exec(code, names)
    finally:
        stop.set()
        sender.join()
        publisher.close()
    names["socket"].context.destroy()
    assert capsys.readouterr().out.count("12 live [1 4]") == 2


# --- the page lists what a message has


def test_the_page_lists_the_metadata_of_a_message():
    keys = [key for row in table("Metadata", "key") for key in names_of(row[0])]
    assert keys == list(EXPECTED["metadata"])


def test_the_page_says_which_metadata_may_be_absent():
    people = replace(wire.decode(GOLDEN).people, missing=(), cameras=(), world_from_cameras=(), floor=None)
    without = wire.encode(people, wire.Run(0.0), 5001.0)
    absent = EXPECTED["metadata"].keys() - wire.unpack(without)[0].keys()
    assert absent == {row[0].strip("`") for row in table("Metadata", "key") if not row[2].startswith("never")}


def test_the_page_lists_the_arrays_of_a_message():
    rows = {names_of(row[0])[0]: row for row in table("Arrays", "array")}
    assert list(rows) == list(EXPECTED["arrays"])
    for name, expected in EXPECTED["arrays"].items():
        assert rows[name][1] == expected["dtype"]
        assert rows[name][2].replace("n", "2") == ", ".join(map(str, expected["shape"]))


def test_the_example_is_the_golden_header():
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert json.loads(example) == json.loads(GOLDEN[8:HEADER_END])


def test_the_page_numbers_the_joints():
    assert tuple(re.findall(r"\b\d+\s([a-z]+\w*)[,.]", PAGE.split("By number:")[1].split("\n\n")[0])) == JOINT_NAMES
    assert tuple(map(int, re.findall(r"-?\d+", PAGE.split("in the same order:")[1].split("\n\n")[0]))) == PARENTS


def test_the_page_states_the_size_of_a_message():
    people = wire.decode(GOLDEN).people
    sizes = [len(wire.encode(people.take([0] * count), wire.Run(0.0), 5001.0)) for count in (1, 2)]
    assert sizes[0] == pytest.approx(2500, abs=100)
    assert sizes[1] - sizes[0] == pytest.approx(1160, abs=24)  # the header's numbers may grow by a digit each


# --- the rules for fields and versions


def changed(header: Callable[[dict[str, Any]], Any], data: bytes = b"") -> bytes:
    """The golden message with a changed header and some bytes more."""
    fields = json.loads(GOLDEN[8:HEADER_END])
    header(fields)
    text = json.dumps(fields).encode()
    return struct.pack("<Q", len(text)) + text + GOLDEN[HEADER_END:] + data


def added(fields: dict[str, Any]) -> None:
    end = len(GOLDEN) - HEADER_END
    fields["touches"] = {"dtype": "U8", "shape": [2, 4], "data_offsets": [end, end + 8]}
    fields["weights"] = {"dtype": "F32", "shape": [2], "data_offsets": [end + 8, end + 16]}
    fields["__metadata__"]["weather"] = "fine"


def newer(fields: dict[str, Any]) -> None:
    fields["__metadata__"]["schema"] = "refit_rt.people/2"


def test_fields_of_a_later_release_are_ignored():
    message = changed(added, bytes(16))
    assert_golden({name: getattr(wire.decode(message).people, name) for name in wire.TENSORS})
    about, arrays = page_decode(message)
    assert about["weather"] == "fine"
    assert_golden({name: arrays[name] for name in wire.TENSORS})


def test_arrays_are_found_in_any_order():
    def reversed_(fields: dict[str, Any]) -> None:
        for name in reversed(list(fields)):
            fields[name] = fields.pop(name)

    assert_golden(wire.unpack(changed(reversed_))[1])
    assert_golden(page_decode(changed(reversed_))[1])


def test_another_version_is_refused_by_name():
    with pytest.raises(UserError, match=r"refit_rt\.people/2"):
        wire.decode(changed(newer))
    with pytest.raises(ValueError, match=r"refit_rt\.people/2"):
        page_decode(changed(newer))


def test_a_message_without_people_has_no_rows():
    nobody = wire.encode(wire.decode(GOLDEN).people.take([]), wire.Run(0.0), 5001.0, "waiting")
    about, arrays = page_decode(nobody)
    assert about["status"] == "waiting"
    assert {name: array.shape[0] for name, array in arrays.items()} == dict.fromkeys(wire.TENSORS, 0)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda fields: fields["poses"].update(data_offsets=[-592, -16]),
        lambda fields: fields["poses"].update(data_offsets=[10**30, 10**31]),
        lambda fields: fields["poses"].update(shape=[-1, 24, 3]),
        lambda fields: fields["poses"].update(shape=[10**30, 24, 3]),
        lambda fields: fields["poses"].update(dtype="F64"),
        lambda fields: fields.pop("poses"),
        lambda fields: fields["__metadata__"].update(frame=7),
        lambda fields: fields["__metadata__"].update(floor="0 1 0"),
        lambda fields: fields["__metadata__"].update(floor="0 1 0 nan"),
        lambda fields: fields["__metadata__"].update(world_from_cameras="1 0 0"),
        lambda fields: fields["__metadata__"].pop("world_from_cameras"),
        lambda fields: fields["views"].update(dtype="F32", shape=[2, 2]),
        lambda fields: fields.update(__metadata__="text"),
        lambda fields: fields.update(poses=None),
    ],
)
def test_a_damaged_header_is_refused_in_one_line(spoil):
    with pytest.raises(UserError, match="stream: received"):
        wire.decode(changed(spoil))


def test_a_header_of_a_thousand_brackets_is_refused():
    text = b"[" * 100_000
    with pytest.raises(UserError, match="not a refit_rt message"):
        wire.decode(struct.pack("<Q", len(text)) + text)


def test_flipped_bits_and_cut_off_messages_are_read_or_refused():
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(3000):
        blob = bytearray(GOLDEN[: rng.integers(0, len(GOLDEN))] if rng.random() < 0.2 else GOLDEN)
        for at in rng.integers(0, HEADER_END, 2) if len(blob) > HEADER_END else ():
            blob[at] ^= 1 << int(rng.integers(8))
        try:
            wire.decode(bytes(blob))
        except UserError:
            refused += 1
    assert refused > 1000


# --- outlets, exports and engines


def test_the_page_lists_the_outlets():
    rows = {names_of(row[0])[0]: row for row in table("Outlets: the same people for other programs", "kind")}
    assert rows.keys() == KINDS.keys()
    for kind, row in rows.items():
        assert int(row[1]) == KINDS[kind].port
        assert tuple(re.findall(r"`(\w+)` \(", row[2])) == KINDS[kind].options


def test_every_row_of_an_outlet_on_the_pages_is_accepted():
    rows = re.findall(r"\b(?:vmc|sonic|json|websocket)://[\w.]+(?::\d+)?(?:\?[\w=&]+)?", PAGE + ENGINES)
    assert len(rows) >= 5
    for row in rows:
        check_rows([row])


@pytest.mark.parametrize("line", re.findall(r"^refit-rt .*", PAGE, re.MULTILINE))
def test_every_command_of_the_page_has_the_options_of_its_verb(line, capsys):
    verb, *words = shlex.split(line)[1:]
    assert command([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(word in shown for word in words if word.startswith("--"))
    check_rows(word for word in words if word.partition("://")[0] in KINDS)


def test_the_page_lists_the_axes():
    rows = {names_of(row[0])[0]: row[1:] for row in table("JSON", "axes")}
    assert rows.keys() == AXES.keys()
    for name, axes in AXES.items():
        up, handed, unit, arrows = rows[name]
        faces, arm = arrows.split(", ")
        for arrow, world in ((up, (0, 1, 0)), (faces, (0, 0, 1)), (arm, (1, 0, 0))):
            expected = np.zeros(3)
            expected["xyz".index(arrow[-1])] = -1 if arrow.startswith("-") else 1
            np.testing.assert_array_equal(axes.target_from_world @ world, expected)
        assert handed == ("right" if np.linalg.det(axes.target_from_world) > 0 else "left")
        assert unit == {1.0: "m", 100.0: "cm"}[axes.units_per_m]


def test_every_row_of_the_engines_names_a_test_that_exists():
    targets = ENGINES.split("## What it costs")[0].splitlines()
    rows = [line for line in targets if line.startswith("| ") and not line.startswith("| target |")]
    assert len(rows) > 10
    for row in rows:
        named = re.findall(r"`([\w/]+\.py)::(\w+)`", row)
        assert named or "as above" in row, row
        for file, name in named:
            tree = ast.parse((ROOT / "tests" / file).read_text(encoding="utf-8"))
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, f"{file}::{name}"
