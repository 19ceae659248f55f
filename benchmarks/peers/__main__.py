"""One command of one peer: `python -m benchmarks.peers NAME COMMAND JSON`, which answers in lines of JSON."""

from __future__ import annotations

import importlib
import json
import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TextIO

from benchmarks.peers.peer import Peer


class Command:
    """The commands, with what was asked and where the answers go."""

    def __init__(self, peer: Peer, request: dict[str, Any], answers: TextIO) -> None:
        self.peer = peer
        self.request = request
        self.answers = answers

    def say(self, **answer: Any) -> None:
        print(json.dumps(answer), file=self.answers, flush=True)

    def wait_for_go(self) -> None:
        self.say(ready=True)
        sys.stdin.readline()

    async def setup(self) -> None:
        await self.peer.setup()
        self.say(done=True)

    async def fill(self) -> None:
        await self.peer.open()
        first = self.request.get("first", 0)
        await self.peer.fill(range(first, first + self.request["count"]))
        await self.peer.close()
        self.say(done=True)

    async def one(self) -> None:
        """One job after the other, each committed."""
        first, count = self.request.get("first", 0), self.request["count"]
        await self.peer.open()
        # The first call connects, prepares and imports.
        await self.peer.enqueue(first)
        self.wait_for_go()
        used, begun = time.process_time(), time.monotonic()
        for number in range(first + 1, first + count):
            await self.peer.enqueue(number)
        ended, used = time.monotonic(), time.process_time() - used
        await self.peer.close()
        self.say(begun=begun, ended=ended, cpu=used, count=count - 1)

    async def many(self) -> None:
        """All jobs in the fewest calls."""
        count = self.request["count"]
        await self.peer.open()
        await self.peer.enqueue(0)
        self.wait_for_go()
        used, begun = time.process_time(), time.monotonic()
        await self.peer.enqueue_many(range(1, count))
        ended, used = time.monotonic(), time.process_time() - used
        await self.peer.close()
        self.say(begun=begun, ended=ended, cpu=used, count=count - 1)

    async def paced(self) -> None:
        """A job each *interval* seconds; when each call began. The first *warmup* are not told of."""
        count, warmup, interval = self.request["count"], self.request.get("warmup", 0), self.request["interval"]
        await self.peer.open()
        for number in range(-warmup, 0):
            await self.peer.enqueue(number)
            await self.peer.pause(interval)
        self.wait_for_go()
        called = []
        due = time.monotonic()
        for number in range(count):
            called.append(time.monotonic())
            await self.peer.enqueue(number)
            due += interval
            await self.peer.pause(max(0.0, due - time.monotonic()))
        await self.peer.close()
        self.say(called=called)

    async def stream(self) -> None:
        """So many jobs a second for *seconds*, in calls for a twentieth of a second each."""
        first, each = self.request["first"], self.request["rate"] // 20
        await self.peer.open()
        self.wait_for_go()
        due = time.monotonic()
        for call in range(int(self.request["seconds"] * 20)):
            start = first + call * each
            await self.peer.enqueue_many(range(start, start + each))
            due += 1 / 20
            await self.peer.pause(max(0.0, due - time.monotonic()))
        await self.peer.close()
        self.say(count=int(self.request["seconds"] * 20) * each)

    async def beside(self) -> None:
        """One job after the other for *seconds*: how long each call took, and what went wrong."""
        number, took, errors = self.request.get("first", 0), [], []
        await self.peer.open()
        await self.peer.enqueue(number)
        self.wait_for_go()
        end = time.monotonic() + self.request["seconds"]
        while (begun := time.monotonic()) < end:
            number += 1
            try:
                await self.peer.enqueue(number)
            except Exception as error:
                errors.append(f"{type(error).__name__}: {error}")
            took.append(time.monotonic() - begun)
        await self.peer.close()
        self.say(took=took, errors=errors, count=len(took) + 1 - len(errors))


def versions(peer: type[Peer]) -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in peer.packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "missing"
    return found


def main(name: str, command: str, text: str) -> None:
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    request = json.loads(text)
    kind: type[Peer] = importlib.import_module(f"benchmarks.peers.{name}.peer").Measured
    if command == "versions":
        print(json.dumps(versions(kind)), file=answers, flush=True)
        return
    options = {key: request[key] for key in ("job", "queue") if key in request}
    peer = kind(request["url"], options=request.get("options", {}), **options)
    if command == "work":
        peer.work()
        return
    peer.run(getattr(Command(peer, request, answers), command)())


if __name__ == "__main__":
    main(*sys.argv[1:])
