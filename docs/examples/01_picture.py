"""One picture → the joints of the people in it.

python docs/examples/01_picture.py picture.jpg
"""

import sys

import cv2
import numpy as np

import refit_rt

image = cv2.imread(sys.argv[1])
if image is None:
    sys.exit(f"{sys.argv[1]}: not a readable picture")

follower = refit_rt.load()
people = follower.follow(image)

np.set_printoptions(precision=2, suppress=True)
print(f"people found: {len(people.ids)}; focal length {people.focal_px:.0f} px")
for joints, joints_px, confidence in zip(people.joints_camera, people.joints_px, people.confidence, strict=True):
    print(f"confidence {confidence:.2f}")
    print("pelvis, metres in front of the camera (x right, y down, z forward):", joints[0])
    print("head, pixels of the picture:", joints_px[15])
