"""Detects mediapipe's 33 landmarks of the nearest person in a video; a script for a separate Python.

`python detect_landmarks.py VIDEO OUT.npz` writes landmarks_px (frame, 33, 2) in pixels of the video (NaN where no
person is found), visibility (frame, 33) 0..1 and fps. It imports nothing of this project, because mediapipe 0.10.21
needs numpy below 2. Mediapipe runs on crops of people: its own detector takes the person with the highest score, who
may be a small one in the background, and it fails on tilted pictures.
"""

import argparse
from pathlib import Path

import cv2
import mediapipe
import numpy as np

CROP_PX = 640
MARGINS = (1.5, 1.25, 1.8)  # sides of the crop over the landmarks' longest extent, tried until the person is found
PASSES = 2  # per frame: the second crop is around what the first pass finds
SHOULDERS, HIPS = [11, 12], [23, 24]
SURE = 0.5  # least mean visibility of shoulders and hips
JUMP = 0.1  # of the crop's side: a torso that moves further in one frame belongs to another person
PATIENCE = 15  # frames without the person after which the whole picture is searched again

Square = tuple[np.ndarray, float, float]  # centre (2,) px, side px, roll radians (clockwise lean of the person)
Found = tuple[np.ndarray, np.ndarray]  # landmarks (33, 2) px of the video, visibility (33,)


class Detector:
    """Mediapipe in still-picture mode: results do not depend on earlier pictures."""

    def __init__(self) -> None:
        self._pose = mediapipe.solutions.pose.Pose(
            static_image_mode=True, model_complexity=1, min_detection_confidence=0.3
        )

    def detect(self, image: np.ndarray, square: Square) -> Found | None:
        """The person with the highest score in a square part of the picture (height, width, 3) BGR."""
        centre, side, roll = square
        scale = CROP_PX / side
        cos, sin = np.cos(roll) * scale, np.sin(roll) * scale
        linear = np.array([[cos, sin], [-sin, cos]])
        middle = (CROP_PX - 1) / 2
        matrix = np.column_stack([linear, middle - linear @ centre])
        flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        crop = cv2.warpAffine(image, matrix, (CROP_PX, CROP_PX), flags=flags)
        answer = self._pose.process(cv2.cvtColor(crop, cv2.COLOR_BGR2RGB))
        if answer.pose_landmarks is None:
            return None
        marks = np.array([[m.x, m.y, m.visibility] for m in answer.pose_landmarks.landmark])
        points = marks[:, :2] * CROP_PX - 0.5  # mediapipe's origin is the corner of the first pixel
        return (points - matrix[:, 2]) @ np.linalg.inv(linear).T, marks[:, 2]


def torso(points: np.ndarray) -> np.ndarray:
    """The vector (2,) px from the middle of the hips to the middle of the shoulders."""
    return points[SHOULDERS].mean(0) - points[HIPS].mean(0)


def around(points: np.ndarray, margin: float) -> Square:
    """The square around landmarks, upright along the torso."""
    up = torso(points)
    roll = float(np.arctan2(up[0], -up[1]))
    turn = np.array([[np.cos(roll), np.sin(roll)], [-np.sin(roll), np.cos(roll)]])
    upright = points @ turn.T
    low, high = upright.min(0), upright.max(0)
    return turn.T @ ((low + high) / 2), float((high - low).max() * margin), roll


def sure(found: Found | None) -> bool:
    """Whether a person is found with visible shoulders and hips."""
    return found is not None and found[1][SHOULDERS + HIPS].mean() > SURE


def search(detector: Detector, image: np.ndarray) -> Found | None:
    """The person with the longest torso in the whole picture and in overlapping parts of it."""
    height, width = image.shape[:2]
    squares: list[Square] = [(np.array([width / 2, height / 2]), float(max(height, width)), 0.0)]
    for share in (0.75, 0.5):
        side = share * max(height, width)
        for x in np.linspace(min(side, width) / 2, width - min(side, width) / 2, 3):
            squares += [(np.array([x, y]), side, 0.0) for y in np.linspace(side / 2, height - side / 2, 3)]
    detections = [detector.detect(image, square) for square in squares]
    people = [found for found in detections if found is not None and sure(found)]
    return max(people, key=lambda found: float(np.linalg.norm(torso(found[0]))), default=None)


def follow(detector: Detector, image: np.ndarray, previous: Found) -> Found | None:
    """Finds the person of the previous frame in this frame."""
    for margin in MARGINS:
        found = previous
        for _ in range(PASSES):
            square = around(found[0], margin)
            seen = detector.detect(image, square)
            if seen is None or not sure(seen) or not same(seen[0], previous[0], JUMP * square[1]):
                break
            found = seen
        else:
            return found
    return None


def same(points: np.ndarray, previous: np.ndarray, furthest_px: float) -> bool:
    """Whether the torsos of two consecutive frames can belong to one person."""
    moved = np.linalg.norm((points - previous)[SHOULDERS + HIPS].mean(0))
    ratio = np.linalg.norm(torso(points)) / max(float(np.linalg.norm(torso(previous))), 1.0)
    return bool(moved <= furthest_px and 0.6 < ratio < 1.7)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("video", type=Path)
    parser.add_argument("out", type=Path)
    settings = parser.parse_args()
    video = cv2.VideoCapture(str(settings.video))
    if not video.isOpened():
        parser.exit(2, f"{settings.video}: cannot be read as a video. Give a video file\n")
    detector, previous, missed = Detector(), None, 0
    landmarks, visibility = [], []
    while True:
        good, image = video.read()
        if not good:
            break
        found = follow(detector, image, previous) if previous is not None else None
        missed = 0 if found else missed + 1
        if previous is None or missed > PATIENCE:
            first = search(detector, image)
            found = follow(detector, image, first) if first else None
        points, seen = found or (np.full((33, 2), np.nan), np.zeros(33))
        landmarks.append(points)
        visibility.append(seen)
        previous = found or previous
    fps = video.get(cv2.CAP_PROP_FPS)
    np.savez(settings.out, landmarks_px=np.array(landmarks), visibility=np.array(visibility), fps=fps)


if __name__ == "__main__":
    main()
