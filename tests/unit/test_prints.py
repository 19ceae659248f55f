"""Streams that write whole lines: what goes out at which call, and what stays of a file."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Iterator
from typing import IO, Any

import pytest

from belayed.worker import prints
from belayed.worker.prints import WholeLines


@pytest.fixture(params=[False, True], ids=["buffered", "unbuffered"])
def pipe(request: pytest.FixtureRequest) -> Iterator[tuple[WholeLines, Any]]:
    """A stream, and what has arrived at its end since the last time."""
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    file: IO[bytes] = os.fdopen(writing, "wb", buffering=0 if request.param else -1)
    stream = WholeLines(io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace"))

    def arrived() -> str:
        try:
            return os.read(reading, 1 << 20).decode()
        except BlockingIOError:
            return ""

    yield stream, arrived
    if not stream.closed:
        stream.close()
    os.close(reading)


def in_thread(call: Any) -> None:
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()


def test_a_line_goes_out_when_it_ends(pipe: Any) -> None:
    stream, arrived = pipe

    assert stream.write("one") == 3
    assert arrived() == ""
    stream.write(" two\nthree\nfo")
    assert arrived() == "one two\nthree\n"
    stream.write("ur\n")
    assert arrived() == "four\n"


def test_each_thread_has_its_own_line(pipe: Any) -> None:
    stream, arrived = pipe

    stream.write("mine ")
    in_thread(lambda: stream.write("theirs\n"))
    stream.write("is whole\n")

    assert arrived() == "theirs\nmine is whole\n"


def test_flush_writes_the_line_that_its_thread_has_begun(pipe: Any) -> None:
    stream, arrived = pipe
    stream.write("50%")

    in_thread(stream.flush)
    assert arrived() == ""
    stream.flush()
    assert arrived() == "50%"


def test_bytes_and_texts_come_in_their_order(pipe: Any) -> None:
    stream, arrived = pipe

    stream.write("a\n")
    stream.buffer.write(b"b\n")
    stream.write("c\n")

    assert arrived() == "a\nb\nc\n"


def test_a_line_without_an_end_is_not_kept_for_ever(pipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    stream, arrived = pipe
    monkeypatch.setattr(prints, "LONGEST", 100)

    for _ in range(101):
        stream.write("x")

    assert arrived() == "x" * 101
    assert stream.begun == {}


def test_lines_of_threads_that_have_ended_are_ended(pipe: Any) -> None:
    stream, arrived = pipe
    in_thread(lambda: stream.write("left"))

    stream.end(1)

    assert arrived() == "left\n"
    assert stream.begun == {}


def test_what_is_begun_is_written_when_the_stream_is_closed(pipe: Any) -> None:
    stream, arrived = pipe
    stream.write("last")

    stream.close()

    assert arrived() == "last\n"
    with pytest.raises(ValueError, match="closed"):
        stream.write("more\n")


def test_what_no_text_is_is_refused(pipe: Any) -> None:
    stream, _ = pipe

    with pytest.raises(TypeError, match="must be str"):
        stream.write(b"bytes")


def test_a_pipe_that_does_not_block_gets_it_all() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    stream = WholeLines(io.TextIOWrapper(os.fdopen(writing, "wb"), encoding="utf-8"))
    found: list[bytes] = []

    def reads() -> None:
        while data := os.read(reading, 1 << 16):
            found.append(data)

    reader = threading.Thread(target=reads)
    stream.write("begun ")
    reader.start()
    stream.write("x" * 1_000_000 + "\n")
    stream.close()
    reader.join()
    os.close(reading)

    assert len(b"".join(found)) == 1_000_007


def test_a_reader_that_has_gone_is_an_error_as_of_any_file() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = WholeLines(io.TextIOWrapper(os.fdopen(writing, "wb"), encoding="utf-8"))

    with pytest.raises(BrokenPipeError):
        stream.write("nobody\n")
    stream.close()


def test_what_stands_in_for_a_stream_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    other = io.StringIO()
    monkeypatch.setattr("sys.stdout", other)
    monkeypatch.setattr("sys.stderr", None)
    monkeypatch.setattr(prints, "streams", [])

    prints.keep_lines_whole()

    import sys

    assert sys.stdout is other
    assert prints.streams == []
