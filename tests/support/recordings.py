"""Files of recorded motion."""

import numpy as np


def recording(path, clips: int = 8) -> None:
    """A file of recorded motion: people who swing an arm while they walk on."""
    rng = np.random.default_rng(0)
    poses = rng.normal(0, 0.05, (clips * 30, 24, 3)).astype(np.float32)
    poses[:, 16, 2], poses[:, 17, 2] = -1.2, 1.2
    trans = np.stack([np.zeros(clips * 30), np.full(clips * 30, 1.0), np.tile(np.arange(30) / 30, clips)], 1)
    np.savez(
        path, poses=poses, trans=trans.astype(np.float32), clip_start=np.arange(clips) * 30,
        clip_length=np.full(clips, 30), clip_name=np.array([f"c{i}" for i in range(clips)]), fps=30,
    )  # fmt: skip
