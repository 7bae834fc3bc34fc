"""Published pictures reach the page."""

import cv2
import numpy as np

from refit_rt.stream.pictures import PicturePublisher
from refit_rt.view.picture_feed import PictureFeed
from tests.view.conftest import until

GREEN = cv2.imencode(".png", np.full((30, 40, 3), (0, 255, 0), np.uint8))[1].tobytes()


def test_the_newest_picture_arrives_and_what_is_no_picture_is_counted(tmp_path) -> None:
    publisher = PicturePublisher(f"ipc://{tmp_path}/pictures")
    feed = PictureFeed(publisher.address)
    assert feed.silent_s == float("inf")
    until(lambda: feed.bad, lambda: publisher.send(b"no picture"))
    found = []
    until(
        lambda: found,
        lambda: publisher.send(GREEN),
        lambda: found.extend([p] if (p := feed.take()) is not None else []),
    )
    assert found[0].shape == (30, 40, 3)
    assert found[0][15, 20].tolist() == [0, 255, 0]
    feed.close()
    publisher.close()


def test_a_window_shows_the_pictures_while_they_come(tmp_path, viewer_of, source_of, monkeypatch) -> None:
    publisher = PicturePublisher(f"ipc://{tmp_path}/pictures")
    viewer = viewer_of(("A", source_of("stream").address), pictures=publisher.address)
    assert viewer.panel.picture is None
    until(lambda: viewer.panel.picture, lambda: publisher.send(GREEN), viewer.step)
    assert viewer.panel.picture is not None
    assert viewer.panel.picture.image.shape == (30, 40, 3)
    monkeypatch.setattr("refit_rt.view.viewer.PICTURE_GONE_S", 0.1)
    until(lambda: not viewer.panel.shows_picture, viewer.step)
    publisher.close()
