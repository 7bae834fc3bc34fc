"""A webcam loop of your own, with OpenCV: each frame starts from the bodies of the last.

python docs/examples/02_webcam.py [CAMERA OR VIDEO]     Escape ends
"""

import sys

import cv2

import refit_rt

source = sys.argv[1] if len(sys.argv) > 1 else "0"
video = cv2.VideoCapture(int(source) if source.isdecimal() else source)
follower = refit_rt.load()
window = sys.stdout.isatty()  # headless OpenCV has no windows: pip install opencv-python for one

while True:
    good, image = video.read()
    if not good:
        break
    people = follower.follow(image)
    for person, joints in zip(people.ids, people.joints_px, strict=True):
        print(f"person {person}: right wrist at {joints[21].round()}")
        for x, y in joints:
            cv2.circle(image, (round(float(x)), round(float(y))), 4, (80, 220, 120), -1)
    if window:
        cv2.imshow("refit_rt", image)
        if cv2.waitKey(1) == 27:
            break
