"""What a supervisor and a child say to each other: frames, each after its length, over a pair of sockets.

Frames are JSON; those with jobs, which only a supervisor sends, are in Python's own form, which takes a fraction of the
time. A supervisor reads none of these: a child runs anybody's code, and could send what ends whoever reads it.
"""

from __future__ import annotations

import json
import marshal
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields
from typing import Any

from belayed.claim import Claimed, Finished
from belayed.job import Outcome, State

LENGTH = struct.Struct(">I")
PACKED = 1 << 31
"""Set in the length of a frame in Python's own form."""
LARGEST = 1 << 28
"""Bytes: a frame that says it is larger is none."""
PIECE = 1 << 18
MOST = 1 << 22
"""Bytes that are read at once: a neighbour must not wait for one that talks without end."""


class BadFrame(Exception):
    """What came is no frame: whoever sent it has lost its mind."""


def encoded(kind: str, body: Any) -> bytes:
    text = json.dumps([kind, body], separators=(",", ":")).encode()
    return LENGTH.pack(len(text)) + text


def packed(kind: str, body: Any) -> bytes:
    """A frame for a child, of plain values."""
    data = marshal.dumps((kind, body))
    return LENGTH.pack(len(data) | PACKED) + data


class Channel:
    """One end of the pair. It never blocks: what does not go out at once waits in a buffer."""

    def __init__(self, sock: socket.socket, *, trusting: bool = False) -> None:
        self.sock, self.trusting = sock, trusting
        self.sock.setblocking(False)
        self.lock = threading.Lock()
        self.unsent = bytearray()
        self.unread = bytearray()
        self.open, self.dry = True, True

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
        while self.unsent and self.open:
            try:
                sent = self.sock.send(self.unsent)
            except BlockingIOError:
                return False
            except OSError:
                # The other end is gone, or a job has closed every file: reading says so.
                self.open = False
                return True
            del self.unsent[:sent]
        return True

    def frames(self) -> Iterator[tuple[str, Any]]:
        """What has come, without waiting; `dry` if that was all. At the end `open` is False. Raises BadFrame."""
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
        at = 0
        try:
            while len(self.unread) - at >= LENGTH.size:
                (length,) = LENGTH.unpack_from(self.unread, at)
                read: Callable[[bytes], Any] = json.loads
                if self.trusting and length & PACKED:
                    read, length = marshal.loads, length ^ PACKED
                if length > LARGEST:
                    raise BadFrame(f"a frame of {length:,} bytes")
                end = at + LENGTH.size + length
                if len(self.unread) < end:
                    break
                text = bytes(self.unread[at + LENGTH.size : end])
                at = end
                try:
                    kind, body = read(text)
                except (ValueError, TypeError, EOFError) as error:
                    raise BadFrame(f"no frame: {text[:80]!r}") from error
                yield kind, body
        finally:
            del self.unread[:at]

    def close(self) -> None:
        self.open = False
        self.sock.close()


# Jobs and outcomes as lists: their names would cost more than they hold.

FINISHED = tuple(field.name for field in fields(Finished) if field.name != "job")


def finished_row(one: Finished) -> list[Any]:
    """An outcome for a frame."""
    return [getattr(one, name) for name in FINISHED]


def success_row(cell: int, one: Finished) -> list[Any]:
    """A success for a frame of such: its cell, its microseconds, and its result if it has one."""
    micros = round(one.seconds * 1e6)
    return [cell, micros] if one.result is None and one.keep else [cell, micros, one.result, one.keep]


def finished_from(row: list[Any]) -> Finished:
    """The outcome that `finished_row` wrote."""
    one = Finished(*row)
    one.outcome, one.state = Outcome(one.outcome), State(one.state)
    # Of what it did not start a child says nothing.
    one.told = one.started
    return one


def unheard_row(one: Finished) -> list[Any]:
    """An outcome with its job, for a child whose plugins are to hear of it."""
    return [finished_row(one), one.job]


def unheard_from(row: list[Any], job: list[Any]) -> Finished:
    """The outcome that `unheard_row` wrote."""
    one = finished_from(row)
    one.job = Claimed._make(job)
    return one
