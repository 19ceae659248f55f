"""What a supervisor and a child send each other: frames, each behind its length, over a pair of sockets.

Frames are JSON; those with jobs, which only a supervisor sends, are in Python's own form, which takes a fraction of the
time. A supervisor reads none of these: a child runs anybody's code, and could send what ends the process that reads it.
What a frame of a child says is checked in heard.py.
"""

from __future__ import annotations

import json
import marshal
import re
import socket
import struct
import threading
from collections.abc import Iterator
from dataclasses import fields
from math import inf
from typing import Any
from zlib import crc32

from belayed.claim import Claimed, Finished
from belayed.job import Outcome, State

LENGTH = struct.Struct(">I")
CHECKSUM = struct.Struct(">I")
PACKED = 1 << 31
"""Set in the length of a frame in Python's own form."""
LARGEST = 1 << 28
"""Bytes of a frame that a child reads. What a supervisor reads of a child is far less: see heard.py."""
PIECE = 1 << 18
MOST = 1 << 22
"""Bytes that are read at once: a neighbour must not wait for one that talks without end."""
MANY_PARTS = 1 << 18
"""Bytes that a frame may have beside its texts: each empty list takes 3 of them, and 60 in memory."""
# To the end, where one has none: else each of its quotes would be looked at as a beginning.
STRINGS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*(?:"|\\?\Z)', re.DOTALL)
SHOWN = 60
"""Bytes of a bad frame that are shown."""
SECRET = b"parameters"
"""After this word a frame may have a password."""


class BadFrame(Exception):
    """Not a valid frame. The end of the channel that sent it cannot be trusted any more."""


def refuse(constant: str) -> Any:
    raise BadFrame(f"it has the number {constant}")


# Not ASCII: an emoji would be 12 bytes. Lone surrogates pass, as paths may have them; heard.py refuses them in texts.
encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode
decode = json.JSONDecoder(parse_constant=refuse).decode


def encoded(kind: str, body: Any) -> bytes:
    text = encode([kind, body]).encode("utf-8", "surrogatepass")
    return LENGTH.pack(len(text)) + text


def packed(kind: str, body: Any) -> bytes:
    """A frame for a child, of plain values. The checksum is for the reader: other bytes could end its interpreter."""
    data = marshal.dumps((kind, body))
    return LENGTH.pack(len(data) | PACKED) + CHECKSUM.pack(crc32(data)) + data


def read(data: bytearray, *, is_packed: bool) -> tuple[str, Any]:
    """The kind and the body of a frame. Raises BadFrame."""
    try:
        if is_packed:
            view = memoryview(data)[CHECKSUM.size :]
            if crc32(view) != CHECKSUM.unpack_from(data)[0]:
                raise BadFrame("a frame that has changed on its way")
            frame = marshal.loads(view)  # noqa: S302 (from our supervisor, as the checksum shows)
        else:
            if len(data) > MANY_PARTS and len(STRINGS.sub(b"", data)) > MANY_PARTS:
                raise BadFrame(f"a frame of too many parts: {beginning(data)!r}")
            frame = decode(data.decode("utf-8", "surrogatepass"))
    except (ValueError, TypeError, EOFError, RecursionError, MemoryError, struct.error) as error:
        raise BadFrame(f"not a frame ({type(error).__name__}): {beginning(data)!r}") from error
    if not isinstance(frame, list | tuple) or len(frame) != 2 or not isinstance(frame[0], str):
        raise BadFrame(f"not a kind and a body: {beginning(data)!r}")
    return frame[0], frame[1]


def beginning(data: bytearray) -> bytes:
    """What is shown of a bad frame."""
    return bytes(data[:SHOWN].partition(SECRET)[0])


class Channel:
    """One end of the pair. It never blocks: what does not go out at once waits in a buffer."""

    def __init__(self, sock: socket.socket, *, trusting: bool = False, largest: int = LARGEST) -> None:
        self.sock, self.trusting = sock, trusting
        self.largest = largest
        """Bytes: a frame that says it is larger is not one."""
        self.sock.setblocking(False)
        self.lock = threading.Lock()
        self.unsent = bytearray()
        self.unread = bytearray()
        self.open, self.dry = True, True
        self.deaf = False
        """Whether the other end takes nothing more. What it has sent before can still be read."""
        self.more = False
        """Whether frames may wait here that have been received and not read."""

    def send(self, kind: str, body: Any) -> bool:
        """Send a frame; False: some of it waits for `flush`. From any thread."""
        return self.put(encoded(kind, body))

    def hand(self, kind: str, body: Any) -> bool:
        """As `send`, to a child."""
        return self.put(packed(kind, body))

    def put(self, data: bytes) -> bool:
        with self.lock:
            self.unsent += data
            return self.pushed()

    def flush(self) -> bool:
        """Send what waits; whether all has gone."""
        with self.lock:
            return self.pushed()

    def pushed(self) -> bool:
        while self.unsent and self.open and not self.deaf:
            sent: list[int] = []
            try:
                # A stop may be raised right after `send`, where a job's thread sends: by then `extend` has the count.
                sent.extend(map(self.sock.send, (self.unsent,)))
            except BlockingIOError:
                return False
            except OSError:
                # The other end is gone, or a job has closed every file.
                self.deaf = True
                break
            finally:
                if sent:
                    del self.unsent[: sent[0]]
        if self.deaf:
            self.unsent.clear()
        return True

    def receive(self) -> None:
        """Take in what has come, without waiting, up to a limit; `dry` if that was all. At the end `open` is False."""
        self.dry = False
        begun = len(self.unread)
        while self.open and len(self.unread) - begun < MOST:
            try:
                data = self.sock.recv(PIECE)
            except BlockingIOError:
                self.dry = True
                break
            except OSError:
                data = b""
            if not data:
                self.open, self.dry = False, True
                break
            self.unread += data

    def frames(self, most: float = inf) -> Iterator[tuple[str, Any]]:
        """What has come, without waiting, up to *most* frames: then `more` is set. Raises BadFrame."""
        if not self.more:
            self.receive()
        self.more, at, count = True, 0, 0
        try:
            while len(self.unread) - at >= LENGTH.size:
                if count >= most:
                    return
                count += 1
                (length,) = LENGTH.unpack_from(self.unread, at)
                begin, is_packed = at + LENGTH.size, False
                if self.trusting and length & PACKED:
                    length, is_packed = (length ^ PACKED) + CHECKSUM.size, True
                if length > self.largest:
                    raise BadFrame(f"a frame of {length:,} bytes")
                if len(self.unread) < begin + length:
                    break
                at = begin + length
                yield read(self.unread[begin:at], is_packed=is_packed)
            self.more = False
        finally:
            del self.unread[:at]

    def close(self) -> None:
        self.open = False
        self.sock.close()


# Jobs and outcomes as lists: names would cost more than the values.

HERE = {"job", "child", "recorded", "hinted", "error"}
"""What is known of an outcome in this process only."""
FINISHED = tuple(field.name for field in fields(Finished) if field.name not in HERE)
FLAGS = {field.name for field in fields(Finished) if field.type == "bool"}


def finished_row(one: Finished) -> list[Any]:
    """An outcome for a frame. SQLite's truths are numbers."""
    return [bool(getattr(one, name)) if name in FLAGS else getattr(one, name) for name in FINISHED]


def success_row(cell: int, one: Finished) -> list[Any]:
    """A success for a frame of such: its cell, its microseconds, and its result if it has one."""
    micros = round(one.seconds * 1e6)
    return [cell, micros] if one.result is None and one.keep else [cell, micros, one.result, one.keep]


def finished_from(row: list[Any]) -> Finished:
    """The outcome that `finished_row` wrote."""
    one = Finished(*row)
    one.outcome, one.state = Outcome(one.outcome), State(one.state)
    return one


def unheard_row(one: Finished) -> list[Any]:
    """An outcome with its job, for a child that is to tell its plugins or its log of it."""
    return [finished_row(one), one.job]


def unheard_from(row: list[Any], job: list[Any]) -> Finished:
    """The outcome that `unheard_row` wrote."""
    one = finished_from(row)
    one.job = Claimed._make(job)
    return one
