"""A small RTSP server (RFC 2326) that plays H.264 as a camera does: RTP over TCP or UDP (RFC 6184)."""

import re
import socket
import struct
import threading
import time

CLOCK_HZ = 90000
MOST_BYTES = 1300  # of a NAL unit in one packet


def units(annexb: bytes) -> list[bytes]:
    """The NAL units of a stream of bytes with start codes."""
    return [unit for unit in re.split(rb"\x00\x00\x00\x01|\x00\x00\x01", annexb) if unit]


class RtspCamera:
    """Plays pictures (one list of NAL units each) at `fps` from the moment of PLAY, to one viewer after the other."""

    def __init__(self, pictures: list[list[bytes]], fps: float, transport: str = "tcp", stall_after: int = 0) -> None:
        """transport: the only one that it accepts. stall_after: pictures, after which it sends nothing; 0: never."""
        self.plays = self._sequence = 0
        self._pictures, self._fps, self._transport, self._stall_after = pictures, fps, transport, stall_after
        self._server = socket.create_server(("127.0.0.1", 0))
        self._stopped = threading.Event()
        self.address = f"rtsp://me:secret@127.0.0.1:{self._server.getsockname()[1]}/live"
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def __enter__(self) -> "RtspCamera":
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.close()
        self._thread.join(5)

    def _serve(self) -> None:
        self._server.settimeout(0.05)
        while not self._stopped.is_set():
            try:
                viewer, _ = self._server.accept()
            except TimeoutError:
                continue
            except OSError:
                return
            with viewer:
                try:
                    self._talk(viewer)
                except OSError:
                    continue

    def _talk(self, viewer: socket.socket) -> None:
        viewer.settimeout(0.05)
        request, port, pending = b"", 0, 0.0
        began_s, sent = 0.0, -1
        while not self._stopped.is_set():
            try:
                data = viewer.recv(4096)
                if not data:
                    return
                request += data
            except TimeoutError:
                pass
            while b"\r\n\r\n" in request:
                head, _, request = request.partition(b"\r\n\r\n")
                text = head[head.find(b"OPTIONS") if head[:1] == b"$" else 0 :].decode("latin-1")
                port = self._answer(viewer, text) or port
                if text.startswith("PLAY"):
                    began_s, sent = time.monotonic(), 0
                    self.plays += 1
            while sent >= 0 and time.monotonic() - began_s >= pending and not (0 < self._stall_after <= sent):
                self._send(viewer, port, sent)
                sent += 1
                pending = sent / self._fps

    def _answer(self, viewer: socket.socket, text: str) -> int:
        """Answers a request; returns the port that the viewer hears RTP at."""
        number = re.search(r"CSeq: *(\d+)", text, re.I)
        wanted = re.search(r"client_port=(\d+)", text)
        head, body, port = "", "", int(wanted[1]) if wanted else 0
        status = "200 OK"
        if text.startswith("DESCRIBE"):
            body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=live\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
            body += f"a=rtpmap:96 H264/{CLOCK_HZ}\r\na=fmtp:96 packetization-mode=1\r\na=control:track1\r\n"
            head = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        elif text.startswith("SETUP"):
            if ("TCP" in text) != (self._transport == "tcp"):
                status = "461 Unsupported Transport"
            elif self._transport == "tcp":
                head = "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            else:
                head = (
                    f"Session: 1\r\nTransport: RTP/AVP;unicast;client_port={port}-{port + 1};server_port=6970-6971\r\n"
                )
        elif text.startswith("OPTIONS"):
            head = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif text.startswith("PLAY"):
            head = "Session: 1\r\nRange: npt=0.000-\r\n"
        viewer.sendall(f"RTSP/1.0 {status}\r\nCSeq: {number[1] if number else 0}\r\n{head}\r\n{body}".encode())
        return port

    def _send(self, viewer: socket.socket, port: int, index: int) -> None:
        packets = []
        for unit in self._pictures[index % len(self._pictures)]:
            packets += [unit] if len(unit) <= MOST_BYTES else fragments(unit)
        stamp = int(index / self._fps * CLOCK_HZ)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as out:
            for k, packet in enumerate(packets):
                marker = 0x80 if k == len(packets) - 1 else 0
                rtp = struct.pack(">BBHII", 0x80, 96 | marker, self._sequence & 0xFFFF, stamp, 7) + packet
                self._sequence += 1
                if self._transport == "tcp":
                    viewer.sendall(struct.pack(">cBH", b"$", 0, len(rtp)) + rtp)
                else:
                    out.sendto(rtp, ("127.0.0.1", port))


def fragments(unit: bytes) -> list[bytes]:
    """A NAL unit in parts (FU-A)."""
    body, parts = unit[1:], []
    for place in range(0, len(body), MOST_BYTES):
        first, last = place == 0, place + MOST_BYTES >= len(body)
        head = bytes([(unit[0] & 0xE0) | 28, (first << 7) | (last << 6) | (unit[0] & 0x1F)])
        parts.append(head + body[place : place + MOST_BYTES])
    return parts
