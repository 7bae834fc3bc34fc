"""Another program that listens: run `refit-rt run` or `refit-rt demo` in a second terminal.

python docs/examples/03_subscribe.py [ADDRESS]     Ctrl-C ends

Each message is the newest one: those that arrive while this program works on another are skipped. With newest=False,
listen gives every message, and a program that is slower than the stream falls ever further behind. A program that uses
ZeroMQ itself sets CONFLATE on its SUB socket, before it connects.
"""

import sys

import refit_rt

address = sys.argv[1] if len(sys.argv) > 1 else "tcp://127.0.0.1:5560"

for message in refit_rt.listen(address, once=True):
    people = message.people
    print(f"frame {people.frame_index}, {message.status}, {1000 * message.age_s:.0f} ms old when it was sent")
    for person, trans, pose in zip(people.ids, people.trans, people.poses, strict=True):
        print(f"  person {person} at {trans.round(2)} m, left elbow turned by {pose[18].round(2)} rad")
