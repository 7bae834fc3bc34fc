"""The verb `replay`: a recording → the stream, as if it were live."""

import threading
import time
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

from refit_rt.commands.shared import File, say
from refit_rt.config import Publish
from refit_rt.errors import UserError


def replay(
    recording: Positional[Annotated[str, arg(metavar="RECORDING")]],
    /,
    *,
    speed: float = 1.0,
    loop: FlagCreatePairsOff[bool] = False,
    body: File = "",
    publish: Publish,
) -> int:
    """Publish a recording as if it were live.

    Subscribers and outlets see what they would see of a camera. Moments without anybody are not in a recording, so
    that nothing is published of them.

    Args:
        recording: A motion.npz of refit-rt run --out.
        speed: How many times as fast as it was recorded.
        loop: Begin again at its end, with new times and numbers.
        body: The body file of SONIC's skeleton, if it is not the free body.
    """
    import numpy as np

    from refit_rt.body.smpl import load_body
    from refit_rt.live.interrupt import ended_by_signals
    from refit_rt.motion.npz import read_motion
    from refit_rt.stream.bridges.outlets import Outlets, check_rows
    from refit_rt.stream.publish import Publisher
    from refit_rt.stream.wire import Run, encode

    if not speed > 0:
        raise UserError(f"--speed {speed:g}: a speed is more than 0")
    if publish.pictures:
        raise UserError("--publish.pictures: a recording has no pictures. Leave it out")
    check_rows(publish.outlets)
    motion = read_motion(Path(recording).expanduser())
    if motion.name is not None:
        raise UserError(f"{recording}: is of pictures by themselves, which make no stream")
    if not len(motion.frame):
        raise UserError(f"{recording}: has nobody in it, so that there is nothing to publish")
    indices, rows = np.unique(motion.frame, return_index=True)
    times_s, stop = motion.time_s[rows] - motion.time_s[rows[0]], threading.Event()
    run, sent = Run(time.time() - time.monotonic(), motion.body, motion.bundle), 0
    step_s, span = 1 / motion.fps if motion.fps > 0 else 1 / 30, int(indices[-1] - indices[0]) + 1
    with ExitStack() as ends:
        ends.enter_context(ended_by_signals(stop))
        publisher = ends.enter_context(closing(Publisher(publish.address, publish.key))) if publish.enabled else None
        used = load_body(Path(body).expanduser() if body else None)
        outlets = ends.enter_context(closing(Outlets(publish.outlets, run, used)))
        again = ", again and again" if loop else ""
        say(
            f"publishing {len(indices)} frames{again} at {publish.address if publisher else 'the outlets'}; Ctrl-C ends"
        )
        began_s, rounds = time.monotonic(), 0
        people = motion.people(int(indices[0]), Path(recording).stem)
        while not stop.is_set():
            round_s = rounds * (float(times_s[-1]) + step_s)
            for index, time_s in zip(indices.tolist(), times_s.tolist(), strict=True):
                now_s = round_s + time_s
                if stop.wait(max(0.0, began_s + now_s / speed - time.monotonic())):
                    break
                people = replace(
                    motion.people(index, Path(recording).stem),
                    frame_index=index - int(indices[0]) + rounds * span,
                    time_s=now_s,
                    captured_s=time.monotonic(),
                )
                if publisher is not None:
                    publisher.send(encode(people, run, time.monotonic()))
                outlets.send(people)
                sent += 1
            rounds += 1
            if not loop:
                break
        people = people.take(slice(0))
        if publisher is not None:
            publisher.send(encode(people, run, time.monotonic(), "ended"))
        outlets.send(people, "ended")
    for line in (f"{sent} frames published", *outlets.table()):
        say(line)
    return 0
