"""The verb `bridge`: a stream that runs already → the same people in the words of others."""

import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg

from refit_rt.commands.shared import File, say


def bridge(
    outlets: Positional[Annotated[tuple[str, ...], arg(metavar="OUTLET")]],
    /,
    *,
    address: str = "tcp://127.0.0.1:5560",
    key: File = "",
    body: File = "",
    once: bool = False,
) -> int:
    """Send a stream on to VMC, SONIC, WebSocket or JSON.

    An OUTLET is KIND://HOST:PORT?OPTION=VALUE, and KIND alone is enough: vmc, sonic, websocket, json. refit-rt run
    makes the same ones with --publish.outlets.

    Args:
        outlets: Any number of outlets.
        address: The stream to subscribe to.
        key: The publisher's public key, of a stream that is encrypted (publish.key).
        body: The body file of SONIC's skeleton, if it is not the free body.
        once: End when the stream ends, instead of waiting for the next one.
    """
    from refit_rt.body.smpl import load_body
    from refit_rt.errors import UserError
    from refit_rt.live.interrupt import ended_by_signals
    from refit_rt.stream.bridges.outlets import KINDS, Outlets
    from refit_rt.stream.subscribe import Listener
    from refit_rt.stream.wire import Run

    if not outlets:
        raise UserError(f"bridge: names no outlet. Give one or more of {', '.join(KINDS)}, as in refit-rt bridge vmc")
    stop = threading.Event()
    with ended_by_signals(stop), closing(Listener(address, newest=True, key=key)) as listener:
        sending = Outlets(outlets, Run(0.0), load_body(Path(body).expanduser() if body else None))
        try:
            say(f"listening to {address}, sending to {', '.join(outlets)}; Ctrl-C ends")
            while not stop.is_set():
                message = listener.get()
                if message is not None:
                    # The sender may be another machine, whose monotonic clock says nothing here.
                    people = replace(message.people, captured_s=time.monotonic() - message.age_s)
                    run = Run(message.captured_unix_s - people.captured_s, message.body, message.bundle)
                    sending.send(people, message.status, run)
                    if once and message.status == "ended":
                        break
        finally:
            sending.close()
    for line in sending.table():
        say(line)
    return 0
