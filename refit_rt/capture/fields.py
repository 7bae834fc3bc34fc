"""Makes whole pictures of interlaced video, whose odd and even lines are taken at different moments."""

import av
from av.error import BlockingIOError as NotYet
from av.filter import Graph


class Fields:
    """Passes frames through, and from the first interlaced one on interpolates the lines of the second field (bwdif:
    Bob Weaver Deinterlacing Filter, motion adaptive). Each frame remains one frame, at its time."""

    def __init__(self) -> None:
        self._graph: Graph | None = None
        self._kind: tuple[int, int, str] | None = None

    @property
    def used(self) -> bool:
        """Whether an interlaced frame has come."""
        return self._graph is not None

    def through(self, frame: av.VideoFrame) -> list[av.VideoFrame]:
        """The frames that are whole now: that of the last call, because a frame is made with the help of the next."""
        kind = (frame.width, frame.height, frame.format.name)
        if self._graph is None and not frame.interlaced_frame:
            return [frame]
        done = self.rest() if self._kind not in (None, kind) else []
        if self._graph is None or self._kind != kind:
            self._graph, self._kind = made(frame), kind
        self._graph.vpush(frame)
        return done + pulled(self._graph)

    def rest(self) -> list[av.VideoFrame]:
        """The frames that are left at the end."""
        if self._graph is None:
            return []
        self._graph.vpush(None)
        return pulled(self._graph)


def made(frame: av.VideoFrame) -> Graph:
    """A chain of filters for frames like this one."""
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    bwdif = graph.add("bwdif", "mode=send_frame:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph


def pulled(graph: Graph) -> list[av.VideoFrame]:
    """What has come out of the chain."""
    frames = []
    while True:
        try:
            frames.append(graph.vpull())
        except (NotYet, EOFError):
            return frames
