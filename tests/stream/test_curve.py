"""An encrypted stream is read with the publisher's key, and by nobody else; keys that do not match are reported."""

import os
import stat
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from refit_rt.errors import UserError
from refit_rt.stream import wire
from refit_rt.stream.publish import Publisher
from refit_rt.stream.subscribe import Listener
from refit_rt.types import People
from tests.support.fakes import people

RUN = wire.Run(0.0, "free", "edge")


@contextmanager
def published(key: str) -> Iterator[str]:
    """The address of a stream that runs."""
    stop = threading.Event()
    with closing(Publisher("tcp://127.0.0.1:*", key)) as publisher:

        def publish() -> None:
            while not stop.wait(0.01):
                publisher.send(wire.encode(people([1]), RUN, 100.0))

        sender = threading.Thread(target=publish)
        sender.start()
        try:
            yield publisher.address
        finally:
            stop.set()
            sender.join()


def heard(address: str, key: str = "", seconds: float = 3.0) -> People | None:
    """The first message's people."""
    until_s = time.monotonic() + seconds
    with closing(Listener(address, key=key)) as listener:
        while time.monotonic() < until_s:
            if (message := listener.get()) is not None:
                return message.people
    return None


def made(folder: Path, name: str) -> Path:
    """The public key of a pair that a publisher has made."""
    with published(str(folder / f"{name}.key_secret")):
        return folder / f"{name}.key"


def test_the_publisher_makes_its_keys_and_who_has_the_public_one_reads(tmp_path):
    key = made(tmp_path, "studio")
    secret = tmp_path / "studio.key_secret"
    if os.name == "posix":
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    before = secret.read_bytes()
    with published(str(secret)) as address:
        read = heard(address, str(key))
        assert read is not None
        assert read.ids.tolist() == [1]
    assert secret.read_bytes() == before  # it is made once


def test_keys_that_do_not_match_are_reported(tmp_path):
    key, other = made(tmp_path, "studio"), made(tmp_path, "other")
    with published(str(tmp_path / "studio.key_secret")) as address:
        with pytest.raises(UserError, match="is encrypted"):
            heard(address)
        with pytest.raises(UserError, match="is not its key"):
            heard(address, str(other))
    with published("") as address, pytest.raises(UserError, match="leave out --key"):
        heard(address, str(key))


def test_key_files_of_no_use_are_refused(tmp_path):
    key = made(tmp_path, "studio")
    with pytest.raises(UserError, match=r"ends in \.key_secret"), published(str(key)):
        pass
    (tmp_path / "studio.key_secret").unlink()
    with pytest.raises(UserError, match="is there, but"), published(str(tmp_path / "studio.key_secret")):
        pass
    with pytest.raises(UserError, match="no such file"):
        heard("tcp://127.0.0.1:1", str(tmp_path / "gone.key"))
    for text in ("", "nonsense", 'public-key = "short"', 'public-key = "' + "\\" * 40 + '"', 'public-key = "ü"'):
        (tmp_path / "bad.key").write_text(text, encoding="utf-8")
        with pytest.raises(UserError, match="holds no key"):
            heard("tcp://127.0.0.1:1", str(tmp_path / "bad.key"))
    secret = tmp_path / "half.key_secret"
    secret.write_text(key.read_text())
    with pytest.raises(UserError, match="holds no secret key"), published(str(secret)):
        pass


def test_keys_that_cannot_be_written_leave_no_half_of_a_pair(tmp_path, monkeypatch):
    def half(folder, name, metadata):
        (Path(folder) / f"{name}.key").write_text("public")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("refit_rt.stream.curve.create_certificates", half)
    with pytest.raises(UserError, match="cannot be made"), published(str(tmp_path / "a.key_secret")):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_open_stream_that_leaves_the_machine_is_warned_about(tmp_path, caplog):
    with closing(Publisher("tcp://0.0.0.0:*")):
        assert "everybody in the network can read tcp://0.0.0.0:" in caplog.text
    caplog.clear()
    with closing(Publisher("tcp://0.0.0.0:*", str(tmp_path / "a.key_secret"))), closing(Publisher("tcp://127.0.0.1:*")):
        assert "everybody" not in caplog.text
