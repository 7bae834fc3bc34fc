"""The page in a browser: it loads, shows people, and stays when they leave. Skipped without Chromium."""

import base64
import json
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from viser import SceneApi
from websockets.sync.client import connect

from refit_rt.view.figure import colour_of
from refit_rt.view.page import PANEL_PX, url_of
from tests.support.dancer import danced

PATIENCE_S = 60.0
SIZE = (600, 320)
PERSON = 3  # of a hue that nothing else on the page has


class Browser:
    """Chromium without a screen, by its DevTools protocol."""

    def __init__(self, program: str, folder: Path) -> None:
        options = ["--headless=new", "--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        options += ["--remote-debugging-port=0", f"--user-data-dir={folder}", "--no-first-run"]
        self._process = subprocess.Popen([program, *options, "about:blank"], stderr=subprocess.PIPE, text=True)
        assert self._process.stderr is not None
        line = next(line for line in self._process.stderr if "DevTools listening" in line)
        port = line.split("127.0.0.1:")[1].split("/")[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json") as answer:
            tabs = json.load(answer)
        address = next(tab["webSocketDebuggerUrl"] for tab in tabs if tab["type"] == "page")
        self._socket, self._number = connect(address, max_size=None), 0
        self.errors: list[str] = []
        self.call("Runtime.enable")
        self.call(
            "Emulation.setDeviceMetricsOverride", width=SIZE[0], height=SIZE[1], deviceScaleFactor=1, mobile=False
        )

    def call(self, method: str, **parameters: Any) -> dict:
        """The answer to a command. What the page throws meanwhile is kept."""
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (answer := json.loads(self._socket.recv())).get("id") != self._number:
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(json.dumps(answer["params"]["exceptionDetails"])[:500])
        return answer.get("result", {})

    def value(self, script: str) -> Any:
        return self.call("Runtime.evaluate", expression=script)["result"].get("value")

    def picture(self) -> np.ndarray:
        """(height, width, 3) uint8 RGB."""
        while "data" not in (answer := self.call("Page.captureScreenshot", format="png")):
            time.sleep(0.1)  # the page is being loaded
        image = cv2.imdecode(np.frombuffer(base64.b64decode(answer["data"]), np.uint8), cv2.IMREAD_COLOR)
        assert image is not None
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)

    def close(self) -> None:
        self._socket.close()
        self._process.kill()
        self._process.communicate()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("needs Chromium")
    browser = Browser(program, tmp_path / "browser")
    yield browser
    browser.close()


def eventually(done: Callable[[], object], *steps: Callable[[], object]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end_s
        for step in steps:
            step()
        time.sleep(0.1)


def plain_light(scene: SceneApi) -> None:
    """Light without shadows and reflections, which take a processor that draws ten seconds and more."""
    scene.configure_default_lights(enabled=False)
    scene.configure_environment_map(None)
    scene.add_light_ambient("/light", intensity=2.5)


def test_the_page_shows_a_person_and_stays_when_the_person_leaves(source_of, viewer_of, body, browser, monkeypatch):
    source = source_of("stream")
    viewer = viewer_of(("A", source.address))
    plain_light(viewer.server.scene)
    people = danced(body, [PERSON], 20)
    browser.call("Page.navigate", url=url_of(viewer.server))

    def coloured() -> int:
        """The pixels of the person's hue."""
        hue = colour_of(PERSON).astype(float) - colour_of(PERSON).mean()
        pixels = browser.picture()[:, : SIZE[0] - PANEL_PX].astype(float)
        pixels = pixels - pixels.mean(-1, keepdims=True)
        lengths = np.linalg.norm(pixels, axis=-1)
        return int(((pixels @ hue > 0.97 * lengths * np.linalg.norm(hue)) & (lengths > 15)).sum())

    def send(whom=people) -> None:
        source.send(whom)

    eventually(lambda: coloured() > 300, send, viewer.step)
    monkeypatch.setattr("refit_rt.view.scene.FORGOTTEN_S", 0.0)
    alone = replace(people.take([]), frame_index=30)
    text = "document.body.innerText"
    eventually(lambda: "nobody" in browser.value(text), lambda: send(alone), viewer.step)
    eventually(lambda: coloured() < 30)
    assert not browser.errors
