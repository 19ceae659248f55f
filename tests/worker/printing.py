"""An application whose jobs print: for workers in processes of their own."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from typing import Any

from belayed import task

STREAMS = {"out": lambda: sys.stdout, "err": lambda: sys.stderr}


def piecewise(stream: Any, name: str, lines: int, width: int) -> None:
    """Print lines of many words: `print` writes each of them, and the end of the line, by a call of its own."""
    for number in range(lines):
        print(name, number, *["x" * width] * 4, "end", file=stream)


@task
def prints(name: str, to: str = "out", lines: int = 30, width: int = 3) -> None:
    piecewise(STREAMS[to](), name, lines, width)


@task
async def aprints(name: str, to: str = "out", lines: int = 30, width: int = 3) -> None:
    stream = STREAMS[to]()
    for number in range(lines):
        print(name, number, *["x" * width] * 4, end=" ", file=stream)
        await asyncio.sleep(0)
        print("end", file=stream)


@task
def prints_in_threads(name: str) -> None:
    """Print from threads of the job's own."""
    threads = [threading.Thread(target=piecewise, args=(sys.stdout, f"{name}-{nth}", 30, 3)) for nth in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@task
def leaves_open(name: str) -> None:
    """Print what has no end of line."""
    print(name, "without an end", end="")


@task
def shows_progress(release: str) -> None:
    """Flush a line that is not at its end, and wait."""
    print("at 50%", end="", flush=True)
    print("to go: 50%", end="", flush=True, file=sys.stderr)
    while not Path(release).exists():
        pass
    print(" done")


@task
def uses_the_stream() -> list[Any]:
    """What a stream is used for beside print."""
    stream = sys.stdout
    stream.buffer.write(b"by the buffer\n")
    stream.writelines(["by ", "writelines\n"])
    os.write(stream.fileno(), b"by its file\n")
    print("käse \udc80")
    print("by the first one", file=sys.__stdout__)
    return [stream.isatty(), stream.fileno(), stream.encoding, stream.errors, stream.writable(), stream.name]


@task
def forks() -> None:
    """Fork with a line begun: the copy does not write it as well."""
    print("begun ", end="")
    if (pid := os.fork()) == 0:
        print("by the copy")
        sys.stdout.flush()
        os._exit(0)
    os.waitpid(pid, 0)
    print("and ended")
