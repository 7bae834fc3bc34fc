"""Files of every kind, as cameras and editing programs write them."""

import itertools
import logging
import re
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from refit_rt.capture.film import rate_of, square
from refit_rt.capture.film_times import FilmTimes
from refit_rt.errors import UserError
from tests.support.filmed import grey, source_of
from tests.support.films import ball, greys, place, woven, write_film
from tests.support.paths import ROOT

needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the program ffmpeg (Debian: ffmpeg)")
UNEVEN_S = np.cumsum([0, 0.033, 0.05, 0.1, 0.02, 0.033, 0.2, 0.033, 0.033, 0.033])
INTERLACED = {
    "avchd.mts": {"options": {"x264-params": "bff=1", "crf": "5"}},
    "h264.mp4": {"options": {"x264-params": "bff=1", "crf": "5"}},
    "dvd.mpg": {"codec": "mpeg2video", "interlaced": True, "options": {"qmin": "1", "qmax": "2", "b": "5000000"}},
    "mpeg2.ts": {"codec": "mpeg2video", "interlaced": True, "options": {"qmin": "1", "qmax": "2", "b": "5000000"}},
}


@pytest.mark.parametrize("name", INTERLACED)
def test_a_picture_of_interlaced_video_shows_one_moment(tmp_path, name):
    films = [woven(ball(2 * k), ball(2 * k + 1)) for k in range(8)]
    source = source_of(write_film(tmp_path / name, films, **INTERLACED[name]), lossless=True)
    frames = list(source)
    assert ([f.index for f in frames], source.bad) == (list(range(8)), 0)
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(8) / 25, atol=1e-3)
    for k, frame in enumerate(frames):
        assert place(frame.image)[0] == pytest.approx(place(ball(2 * k))[0], abs=0.2)  # px; the next moment: 3 px


def test_digital_video_from_a_tape_is_read_with_both_cures(tmp_path):
    size = (720, 576)
    films = [woven(ball(2 * k, size, 12), ball(2 * k + 1, size, 12)) for k in range(3)]
    film = write_film(tmp_path / "tape.dv", films, codec="dvvideo", container="dv", pixel=Fraction(16, 15))
    frames = list(source_of(film, lossless=True))
    assert {f.size for f in frames} == {(768, 576)}
    for k, frame in enumerate(frames):
        assert place(frame.image)[0] == pytest.approx(place(ball(2 * k, size, 12))[0] * 16 / 15, abs=1)


@pytest.mark.parametrize("name", ["phone.mp4", "screen.mkv", "phone.mov"])
def test_frames_of_a_variable_rate_come_at_their_own_times(tmp_path, name):
    source = source_of(write_film(tmp_path / name, greys(10), times_s=UNEVEN_S), lossless=True)
    np.testing.assert_allclose([f.time_s for f in source], UNEVEN_S, atol=1e-3)


def test_a_film_whose_header_states_another_rate_is_played_live_without_a_loss(tmp_path):
    times_s = np.arange(20) / 20
    film = write_film(tmp_path / "wrong.mkv", greys(20), fps=1000, times_s=times_s)
    source = source_of(film)
    assert source.fps == pytest.approx(20, rel=0.01)
    frames = list(source)
    assert [f.index for f in frames] == list(range(20))
    assert frames[-1].captured_s - frames[0].captured_s == pytest.approx(0.95, abs=0.05)


def test_a_looped_film_of_a_variable_rate_begins_again_after_its_own_length(tmp_path):
    source = source_of(write_film(tmp_path / "phone.mp4", greys(10), times_s=UNEVEN_S / 4), loop=True)
    frames = list(itertools.islice(source, 25))
    source.close()
    by_index = {f.index: f.time_s for f in frames}
    again = min(index for index in by_index if index >= 10)
    assert by_index[again] >= UNEVEN_S[-1] / 4


@pytest.mark.parametrize(("name", "codec"), [("a.gif", "gif"), ("a.png", "apng")])
def test_an_animated_picture_is_a_film_with_its_own_times(tmp_path, name, codec):
    container = {"apng": "apng"}.get(codec)
    film = write_film(tmp_path / name, greys(15), fps=15, codec=codec, container=container)
    source = source_of(film, lossless=True)
    frames = list(source)
    assert source.fps == pytest.approx(15, rel=0.01)
    np.testing.assert_allclose([f.time_s for f in frames], np.arange(15) / 15, atol=6e-3)  # a GIF counts centiseconds
    assert grey(frames[14]) > grey(frames[7]) > grey(frames[0])


@pytest.mark.parametrize(("name", "codec"), [("a.h264", "libx264"), ("a.mjpeg", "mjpeg")])
def test_a_raw_stream_comes_at_the_rate_that_is_given(tmp_path, caplog, name, codec):
    film = write_film(tmp_path / name, greys(10), fps=50, codec=codec)
    source = source_of(film, lossless=True, fps=50.0)
    assert source.fps == 50
    np.testing.assert_allclose([f.time_s for f in source], np.arange(10) / 50, atol=1e-6)
    assert "contains no times" not in caplog.text
    source = source_of(film, lossless=True)
    assert [f.time_s for f in source][1] == pytest.approx(1 / source.fps)
    assert f"contains no times: its frames are taken to come {source.fps:g} per second. Set capture.fps" in caplog.text


def test_a_rate_that_is_not_used_is_reported(tmp_path, caplog):
    source = source_of(write_film(tmp_path / "a.mp4", greys(5)), lossless=True, fps=50.0)
    assert source.fps == 25
    assert "capture.fps is not used" in caplog.text


@pytest.mark.parametrize(
    ("pixel", "size"), [(Fraction(64, 45), (1024, 576)), (Fraction(4, 3), (960, 576)), (Fraction(8, 9), (720, 648))]
)
def test_pixels_that_are_not_square_become_square(tmp_path, caplog, pixel, size):
    caplog.set_level(logging.INFO)
    squeezed = cv2.resize(ball(5, size), (720, 576), interpolation=cv2.INTER_AREA)
    (frame,) = source_of(write_film(tmp_path / "hdv.mp4", [squeezed], pixel=pixel), lossless=True)
    assert frame.size == size
    assert place(frame.image)[2] == pytest.approx(1, abs=0.005)
    assert f"become {size[0]} x {size[1]}, which focal lengths and calibrations mean" in caplog.text


def test_nearly_square_pixels_are_left_alone():
    assert square(1920, 1080, Fraction(4080, 4079)) == (1920, 1080)
    assert square(1920, 1080, Fraction(0)) == (1920, 1080)


def test_a_phone_that_is_turned_while_it_films_gives_pictures_of_both_shapes(tmp_path):
    parts = [
        write_film(tmp_path / f"{k}.ts", [ball(j, size) for j in range(5)]).read_bytes()
        for k, size in enumerate([(96, 64), (64, 96)])
    ]
    (tmp_path / "turned.ts").write_bytes(b"".join(parts))
    frames = list(source_of(tmp_path / "turned.ts", lossless=True))
    assert [f.size for f in frames] == [(96, 64)] * 5 + [(64, 96)] * 5
    assert all(place(f.image)[2] == pytest.approx(1, abs=0.05) for f in frames)
    assert (np.diff([f.time_s for f in frames]) > 0).all()


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_pictures_are_turned_upright(tmp_path, degrees):
    scene = np.zeros((64, 96, 3), np.uint8)
    scene[:20, :30], scene[40:, :30] = 255, 128  # light at the top left, grey at the bottom left
    turns = degrees // 90
    path = tmp_path / "phone.mov"
    with av.open(str(path), "w") as film:
        stream = film.add_stream("libx264", rate=25)
        lying = np.rot90(scene, turns).copy()
        stream.width, stream.height, stream.pix_fmt = lying.shape[1], lying.shape[0], "yuv420p"
        if not hasattr(stream, "set_display_rotation"):
            pytest.skip("needs PyAV 18 to write the rotation of a film")
        stream.set_display_rotation(-degrees)
        film.mux(stream.encode(av.VideoFrame.from_ndarray(lying, format="bgr24")))
        film.mux(stream.encode(None))
    (frame,) = source_of(path, lossless=True)
    assert frame.size == (96, 64)
    assert np.abs(frame.image.astype(int) - scene).mean() < 4


@pytest.mark.parametrize(
    "name", ["pipe:0.mp4", "concat:a|b.mp4", "-i.mp4", "a%03d.gif", "http:a.mp4", "50% off.mp4", "ü #?.mp4"]
)
def test_a_file_may_have_a_name_that_ffmpeg_takes_for_something_else(tmp_path, monkeypatch, name):
    codec = "gif" if name.endswith("gif") else "libx264"
    plain = write_film(tmp_path / f"plain{Path(name).suffix}", greys(3), codec=codec)
    plain.rename(tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert len(list(source_of(name, lossless=True))) == 3


def test_a_sound_is_refused_even_with_a_picture_on_its_cover(tmp_path):
    with av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as file:
        stream = file.add_stream("aac", rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        sound.rate = 16000
        file.mux(stream.encode(sound))
        file.mux(stream.encode(None))
    with pytest.raises(UserError, match=r"song.m4a: is not a readable video \(it contains no video\)\. Convert it"):
        source_of(tmp_path / "song.m4a")


@needs_ffmpeg
def test_a_clip_that_was_trimmed_without_encoding_raises_no_alarm(tmp_path, caplog):
    whole = write_film(tmp_path / "whole.mp4", greys(30), options={"g": "10"})
    for name, arguments in {
        "head.mp4": ["-ss", "0.5"],
        "tail.mp4": ["-t", "0.7"],
        "both.mov": ["-ss", "0.3", "-t", "0.5"],
    }.items():
        command = ["ffmpeg", "-v", "error", *arguments, "-i", str(whole), "-c", "copy", str(tmp_path / name)]
        subprocess.run(command, check=True)
        frames = list(source_of(tmp_path / name, lossless=True))
        assert len(frames) >= 12
        assert frames[0].time_s == 0
        np.testing.assert_allclose([grey(f) for f in frames[:10]], grey(frames[0]) + 8 * np.arange(10), atol=5)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_film_that_is_cut_off_is_reported(tmp_path, caplog):
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (48, 64, 3), np.uint8) for _ in range(30)]
    whole = write_film(tmp_path / "whole.mp4", noise, options={"movflags": "faststart", "g": "1"})
    fast = tmp_path / "fast.mp4"
    with av.open(str(whole)) as old, av.open(str(fast), "w", options={"movflags": "faststart"}) as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(old.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                new.mux(packet)
    fast.write_bytes(fast.read_bytes()[: fast.stat().st_size // 2])
    frames = list(source_of(fast, lossless=True))
    assert 5 < len(frames) < 25
    assert re.search(r"fast.mp4: (the film ends after|cannot be read after) 0\.\d s", caplog.text)


@pytest.mark.parametrize("rate", [15, 24000 / 1001, 30000 / 1001, 59.94, 120])
def test_the_rate_of_a_film_is_that_of_its_times(rate):
    clock = np.round(np.arange(200) / rate, 3)  # Matroska counts milliseconds
    assert rate_of(list(clock)) == pytest.approx(rate, rel=3e-4)
    assert rate_of(list(np.delete(clock, [20, 21, 90]))) == pytest.approx(rate, rel=0.01)


def test_times_that_jump_are_joined_and_reported(caplog):
    times = FilmTimes("joined.ts", 25, may_jump=True)
    stated_s = [100.0, 100.04, 100.08, 5.0, 5.04, 9000.0, 9000.04]
    np.testing.assert_allclose([times.next(s) for s in stated_s], np.arange(7) / 25, atol=1e-6)
    assert "joined.ts: its times jump by -95.1 s at 0.1 s" in caplog.text


def test_times_that_repeat_do_not_stretch_the_film():
    times = FilmTimes("odd.avi", 25, may_jump=False)
    got = [times.next(s) for s in (0.0, 0.0, 0.08, 0.08, 0.16, None, 0.24)]
    np.testing.assert_allclose(got, [0, 0.04, 0.08, 0.12, 0.16, 0.2, 0.24], atol=1e-6)


def test_decoding_keeps_no_pictures_in_memory():
    """300 pictures of 1280 x 720 are 400 MB as they are decoded."""
    code = (
        "from refit_rt.capture.film import Film\nfrom refit_rt.files import ASSETS\nimport resource\n"
        "film = Film(str(ASSETS / 'demo' / 'demo.mp4'))\npeaks = []\n"
        "for shown in film.frames():\n"
        "    film.picture(shown.frame)\n"
        "    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
        "print(len(peaks), peaks[-1] - peaks[50])"
    )
    pytest.importorskip("resource")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    count, grown = map(int, done.stdout.split())
    assert count == 300
    assert grown < 60_000 * (1 if sys.platform == "linux" else 1024)  # kB on Linux, bytes on macOS
