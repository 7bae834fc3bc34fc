"""A recording, read with numpy alone: motion.npz of `refit-rt run clip.mp4 --out DIR` has one row per person and frame.

python docs/examples/04_recording.py motion.npz
"""

import sys

import numpy as np

motion = np.load(sys.argv[1])
print(f"{len(motion['frame'])} rows, {motion['fps']:.1f} frames per second, body {motion['body']}")

for person in np.unique(motion["person"]):
    rows = motion["person"] == person
    time_s, joints = motion["time_s"][rows], motion["joints_camera"][rows]  # (T,), (T, 24, 3) metres
    steps = np.linalg.norm(np.diff(joints[:, 0], axis=0), axis=1)
    print(f"person {person}: {time_s[0]:.2f} to {time_s[-1]:.2f} s, the pelvis travels {steps.sum():.2f} m")
    print(f"  poses {motion['poses'][rows].shape} axis-angle, betas {motion['betas'][rows].shape}")
