"""The verbs `bench …`: what they print, and what they measure."""

import re
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from refit_rt import config
from refit_rt.__main__ import command
from refit_rt.commands import machine
from refit_rt.commands.bench import live, people, stream
from refit_rt.commands.bench.table import Table, command_of
from refit_rt.commands.bench.timing import BLOCK, medians_ms
from refit_rt.fit.fitter import Fitter
from refit_rt.stream.bridges.outlets import KINDS
from refit_rt.stream.latency import Latency

TABLE = Table(["one iteration", "µs", "ratio"], [["torch", "6400.0", "1.0"], ["numba", "131.5", "48.7"]])


def test_a_table_as_text_has_figures_below_each_other() -> None:
    assert TABLE.text().splitlines() == [
        "one iteration      µs  ratio",
        "torch          6400.0    1.0",
        "numba           131.5   48.7",
    ]


def test_a_table_as_markdown_names_the_command_and_the_processor(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nmodel name\t: Fast 9000\n\nprocessor\t: 1\n")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    assert TABLE.markdown("refit-rt bench loop --markdown").splitlines() == [
        "`refit-rt bench loop --markdown` on Fast 9000:",
        "",
        "| one iteration | µs | ratio |",
        "| --- | --- | --- |",
        "| torch | 6400.0 | 1.0 |",
        "| numba | 131.5 | 48.7 |",
    ]


def test_the_command_of_a_table_holds_the_settings_that_are_not_the_defaults() -> None:
    fit = config.Fit(threads=1, warm=False, shapes={"all": "ann.json", "2": "bob.json"})
    detect = config.Detect()
    assert command_of("bench live", fit=fit, detect=detect) == (
        "refit-rt bench live --markdown --fit.threads 1 --fit.no-warm --fit.shapes all ann.json 2 bob.json"
    )


@pytest.mark.parametrize("what", ["live", "people", "encoder", "loop"])
def test_every_measurement_can_be_printed_as_markdown(capsys, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    if what == "loop":
        pytest.importorskip("torch", reason="bench loop needs torch: pip install refit-rt[train]")
    monkeypatch.setattr(f"refit_rt.commands.bench.{what}.measure", lambda *_: TABLE)
    assert command(["bench", what, "--markdown"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"`refit-rt bench {what} --markdown` on ")
    assert "\n| numba | 131.5 | 48.7 |\n" in shown
    assert command(["bench", what]) == 0
    assert capsys.readouterr().out == TABLE.text() + "\n"


def test_bench_stream_measures_the_stream_each_outlet_and_subscribers(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"FRAMES": 30, "SUBSCRIBERS": (2,), "RATES": (20,), "WORKED": 2, "TIMES": 1}.items():
        monkeypatch.setattr(stream, name, value)
    assert command(["bench", "stream"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in shown[1:]] == [
        "the stream, ZeroMQ",
        *(f"outlet {kind}" for kind in KINDS),
        "2 subscribers, in a second process",
        "a subscriber that works for 0.1 s per message",
        "a late subscriber's first message",
        "the next message of a publisher that starts again",
    ]
    figures = [float(text) for line in shown[1:] for text in re.findall(r"([\d.]+) ms", line)]
    assert len(figures) == 2 * (len(shown) - 1)
    assert all(0 < figure < 5000 for figure in figures)


def test_bench_alone_is_bench_live(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []
    monkeypatch.setattr(live, "measure", lambda *groups: given.append(groups) or TABLE)
    assert command(["bench", "--fit.iterations", "3", "--publish.address", "tcp://127.0.0.1:5571"]) == 0
    address, detect, track, fit, smooth = given[0]
    assert (address, detect, track, smooth) == (
        "tcp://127.0.0.1:5571",
        config.Detect(),
        config.Track(),
        config.Smooth(),
    )
    assert fit.iterations == 3


@pytest.mark.parametrize("what", ["loop", "kernels"])
def test_without_torch_the_line_says_how_to_install_it(refusal, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    for module in ("loop", "cuda"):
        monkeypatch.delitem(sys.modules, f"refit_rt.commands.bench.{module}", raising=False)
    assert refusal("bench", what) == "refit-rt: this needs torch. Install it: pip install 'refit-rt[train]'"


def test_without_a_gpu_the_kernels_are_refused_in_one_line(refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="bench kernels needs torch: pip install refit-rt[train]")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "bench kernels: torch finds no NVIDIA GPU. Run it on a machine with one" in refusal("bench", "kernels")


def test_the_kernels_have_a_column_per_type_and_number_of_persons(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch", reason="bench kernels needs torch: pip install refit-rt[train]")
    from refit_rt.commands.bench import cuda

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "NVIDIA H200")
    monkeypatch.setattr(cuda, "compiled_kernels", lambda capability: capability)
    monkeypatch.setattr(cuda, "Kernels", lambda library: library)
    monkeypatch.setattr(
        cuda, "measured", lambda _, __, persons, half: {"kernels": 30.0 + persons + half, "torch": None}
    )
    assert command(["bench", "kernels", "--markdown"]) == 0
    title, _, heads, _, kernels, unrecorded = capsys.readouterr().out.splitlines()
    assert title == f"`refit-rt bench kernels --markdown` on NVIDIA H200, torch {torch.__version__}:"
    assert (
        heads
        == "| µs per iteration, by type and persons | fp32, 1 | fp32, 4 | fp32, 16 | fp16, 1 | fp16, 4 | fp16, 16 |"
    )
    assert kernels == "| kernels | 31.0 | 34.0 | 46.0 | 32.0 | 35.0 | 47.0 |"
    assert unrecorded == "| torch | none | none | none | none | none | none |"


def test_all_ways_of_the_loop_turn_the_body_the_same_way() -> None:
    pytest.importorskip("torch", reason="the loop is compared with torch: pip install refit-rt[train]")
    from refit_rt.commands.bench.loop import contestants

    official, markers_only, full, compiled = (run() for run in contestants(2).values())
    truth = markers_only[-1].rotations[0].numpy()
    assert np.abs(official[-1].rotations[0].numpy() - truth).max() < 1e-5
    assert np.abs(official[-1].markers.numpy() - markers_only[-1].markers.numpy()).max() < 1e-5
    assert np.abs(compiled.rotations - truth).max() < 1e-5
    assert np.abs(full.rotations - truth).max() < 1e-3  # its largest matrix is not rounded to half precision


def test_functions_are_called_in_turns() -> None:
    called: list[str] = []
    medians = medians_ms({"a": lambda: called.append("a"), "b": lambda: called.append("b")}, rounds=2)
    assert "".join(called) == "aaabbb" + 2 * (BLOCK * "a" + BLOCK * "b")
    assert set(medians) == {"a", "b"}


def test_the_clock_of_a_live_measurement_starts_at_the_first_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "SECONDS", 0.05)
    pipeline, stop, memory_kb = SimpleNamespace(frames=0), threading.Event(), []
    watcher = threading.Thread(target=live.watch, args=(pipeline, stop, memory_kb), daemon=True)
    watcher.start()
    assert not stop.wait(0.5)  # still loading
    pipeline.frames = 1
    assert stop.wait(10)
    assert len(memory_kb) == 1


def test_a_crowd_is_copies_of_the_clips_person_each_with_a_box(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "CROWDS", (1, 3))
    monkeypatch.setattr(people, "FRAMES", 4)
    monkeypatch.setattr(people, "UNCOUNTED", 1)
    found = []
    fit = Fitter.fit
    monkeypatch.setattr(Fitter, "fit", lambda *given: found.append(fit(*given)) or found[-1])
    assert command(["bench", "people", "--fit.precision", "f32"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0][:5] == ["people,", "encoder", "in", "f32", "median"]
    assert [(row[0], len(row)) for row in rows[1:]] == [("1", 6), ("3", 6)]
    last = found[-1]
    assert last.ids.tolist() == [0, 1, 2]
    assert (last.confidence > 0.5).all()
    apart_px = np.diff(last.joints_px[:, 0, 0])
    assert apart_px == pytest.approx(last.size[0] / 3, abs=10)


class Probe:
    """A latency probe without a process."""

    latency = Latency(1800, 1800, 30.0, (15.0, 33.0, 45.0))

    def __init__(self, address: str) -> None: ...
    def __enter__(self) -> "Probe":
        return self

    def __exit__(self, *_: object) -> None: ...


def pipeline_of(frames: int) -> type:
    """A pipeline that publishes these frames, at once."""

    class Pipeline:
        def __init__(self, settings: config.Settings) -> None:
            assert settings.publish.enabled
            self.frames = frames

        def run(self, stop: threading.Event) -> SimpleNamespace:
            stop.wait(5) if self.frames else time.sleep(0.1)
            return SimpleNamespace(milliseconds={"fit": (22.35, 26.57, 299)}, dropped=1, frames=self.frames)

    return Pipeline


def test_a_live_measurement_publishes_whatever_the_settings_hold_and_is_refused_when_cut_short(
    refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LatencyProbe", Probe)
    monkeypatch.setattr(live, "Pipeline", pipeline_of(0))
    line = refusal("bench", "live", "--publish.no-enabled")
    assert "ended before there was anything to measure" in line


def test_a_live_measurement_shows_rate_delay_and_memory(capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "LatencyProbe", Probe)
    monkeypatch.setattr(live, "Pipeline", pipeline_of(299))
    monkeypatch.setattr(live, "SECONDS", 3.5)
    assert command(["bench", "live"]) == 0
    rows = [line.split("  ") for line in capsys.readouterr().out.splitlines()]
    shown = {row[0]: [cell.strip() for cell in row[1:] if cell] for row in rows}
    assert rows[0][0] == "720p at 60 frames per second for 30 s"
    assert shown["fit"] == ["22.35 ms", "26.57 ms"]
    assert shown["capture to subscriber"] == ["15.0 ms", "33.0 ms", "45.0 ms"]
    assert shown["messages per second"] == ["60.0"]
    assert shown["frames dropped"] == ["1 of 300"]
    assert shown["memory"][0].endswith(" MB")
