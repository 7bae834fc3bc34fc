"""README.md is true: its library example runs, its verbs, links and folders exist, and it stays short."""

import importlib.metadata
import re
import socket
import threading
import time

import cv2
import pytest

import refit_rt
from refit_rt.__main__ import VERBS
from refit_rt.files import ASSETS
from refit_rt.stream.publish import Publisher
from refit_rt.stream.wire import Run, encode
from tests.support.fakes import people
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def address() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def test_the_library_example_runs(address, monkeypatch, capsys):
    """As it stands, with a picture of the demo and a publisher that sends two messages."""
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    video = cv2.VideoCapture(str(ASSETS / "demo" / "demo.mp4"))
    image_bgr = [video.read()[1] for _ in range(60)][-1]
    listen, done = refit_rt.listen, threading.Event()

    def publish() -> None:
        publisher, run = Publisher(address), Run(time.time() - time.monotonic())
        while not done.wait(0.05):
            publisher.send(encode(people([7]), run, time.monotonic()))
        publisher.send(encode(people([]), run, time.monotonic(), "ended"))
        publisher.close()

    def heard():
        thread = threading.Thread(target=publish)
        thread.start()
        for count, message in enumerate(listen(address, once=True)):
            yield message
            if count == 1:
                done.set()
        thread.join()

    monkeypatch.setattr(refit_rt, "listen", heard, raising=False)
    names = {"image_bgr": image_bgr}
    exec(code, names)
    assert names["people"].joints_camera.shape == (1, 24, 3)  # type: ignore[attr-defined]
    assert "[7] [[" in capsys.readouterr().out


def test_every_verb_stands_in_it():
    for verb in VERBS:
        first, _, what = verb.partition(" ")
        assert f"refit-rt {first}" in README or verb == "demo", verb
        assert what in README
    shown = set(re.findall(r"^refit-rt ([a-z-]+)", README, re.MULTILINE))
    others = {point.name for point in importlib.metadata.entry_points(group="refit_rt.verbs")}
    assert shown <= {verb.split()[0] for verb in VERBS} | others


def test_its_links_and_folders_exist():
    for page in (ROOT / "README.md", ROOT / "training" / "README.md", ROOT / "trt_plugins" / "README.md"):
        for link in re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8")):
            assert link.startswith("https://") or (page.parent / link).exists(), f"{page}: {link}"
    tree = README.split("## The folders\n```\n")[1].split("```")[0]
    for row in tree.splitlines():
        base = ROOT / "refit_rt" if row.startswith(" ") else ROOT
        for name in re.match(r" *((?:[\w/]+ )+) ", row + "  ").group(1).split():  # type: ignore[union-attr]
            assert (base / name).exists() or (base / f"{name}.py").exists(), name


@pytest.mark.parametrize(("page", "most"), [("README.md", 130), ("training/README.md", 100)])
def test_pages_stay_short(page, most):
    assert len((ROOT / page).read_text(encoding="utf-8").splitlines()) <= most
