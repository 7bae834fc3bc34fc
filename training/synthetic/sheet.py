"""Draws sheets of samples for inspection: python -m training.synthetic.sheet OUT.png"""

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from refit_rt.body.smpl import PARENTS
from refit_rt.errors import UserError
from training.reporting import run, write_picture
from training.synthetic.generator import Assets, Generator, Sample


def joints_in_crop(sample: Sample) -> np.ndarray:
    """The joints (24, 2) in pixels of the 256-pixel crop."""
    at = sample.joints
    pixels = at[:, :2] / np.maximum(at[:, 2:], 0.05) * sample.focal_px + sample.centre_px
    return (pixels - (sample.box[:2] - sample.box[2] / 2)) * (sample.image.shape[0] / sample.box[2])


def with_joints(sample: Sample) -> np.ndarray:
    """Draws the truth over the sample's picture, RGB."""
    image = sample.image.copy()
    points = np.clip(joints_in_crop(sample), -1e4, 1e4)
    for joint in range(1, 24):
        a, b = np.round(points[PARENTS[joint]]).astype(int), np.round(points[joint]).astype(int)
        colour = (255, 80, 60) if joint in (1, 4, 7, 10, 13, 16, 18, 20, 22) else (60, 220, 90)
        cv2.line(image, tuple(a.tolist()), tuple(b.tolist()), colour, 1, cv2.LINE_AA)
    cv2.putText(image, f"{sample.visible:.2f}", (3, 12), 0, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    return image


def sheet(samples: list[Sample], columns: int, joints: bool) -> np.ndarray:
    """Joins the samples' pictures to one sheet, RGB."""
    tiles = [with_joints(s) if joints else s.image for s in samples]
    rows = [np.concatenate(tiles[i : i + columns], 1) for i in range(0, len(tiles) - columns + 1, columns)]
    return np.concatenate(rows)


def main() -> None:
    """The command line. Raises UserError."""
    parser = argparse.ArgumentParser(prog="python -m training.synthetic.sheet", description=__doc__)
    parser.add_argument("out", type=Path, help="the picture to write; a second one shows the joints as well")
    for name in ("motion", "hdri", "photos", "garments"):
        parser.add_argument(f"--{name}", type=Path, help="as for training.produce")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--start", type=int, default=0, help="number of the first sample")
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--clips", action="store_true", help="one clip per row")
    parser.add_argument("--fps", type=float, default=8.0, help="frames per second of clips")
    parser.add_argument("--webcam", type=float, default=0.0, help="share of people talking to a webcam")
    arguments = parser.parse_args()
    if min(arguments.columns, arguments.rows) < 1:
        raise UserError("--columns and --rows: must be at least 1")
    cv2.setNumThreads(1)
    assets = Assets(arguments.motion, arguments.hdri, arguments.photos, arguments.garments)
    generator = Generator(arguments.seed, assets, webcam=arguments.webcam)
    numbers = range(arguments.start, arguments.start + arguments.columns * arguments.rows)
    if arguments.clips:
        samples = [s for row in range(arguments.rows) for s in generator.clip(arguments.columns, arguments.fps, row)]
        again = samples
    else:
        samples = [generator.sample(i) for i in numbers]
    started = time.process_time()
    if not arguments.clips:
        again = [generator.sample(i) for i in numbers]
    rate = len(samples) / (time.process_time() - started)
    same = all((a.image == b.image).all() for a, b in zip(samples, again, strict=True))
    plain, drawn = sheet(samples, arguments.columns, False), sheet(samples, arguments.columns, True)
    write_picture(arguments.out, plain[..., ::-1])
    write_picture(arguments.out.with_stem(arguments.out.stem + "_joints"), drawn[..., ::-1])
    arguments.out.with_suffix(".txt").write_text(
        f"{rate:.1f} samples per second, repeatable: {same}\n", encoding="utf-8"
    )


if __name__ == "__main__":
    sys.exit(run(main))
