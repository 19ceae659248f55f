"""The children of a pool that says how many jobs run at once, functions and coroutines together."""

from __future__ import annotations

from typing import Any

from belayed.config import CappedConfig
from belayed.worker.children import Children
from belayed.worker.handed import Child, Handed


class Capped(Children):
    """Children that are handed no more than may run at once: the rest waits in the supervisor.

    A job counts until its outcome is here, in whichever child: in one that is replaced, in one for suspects, and in one
    that it keeps from ending.
    """

    config: CappedConfig

    def running(self) -> int:
        """How many jobs run, at most: a child that holds more has as many threads, or places, as it may run."""
        return sum(min(len(child.handed), self.config.threads) for child in self.list)

    def room(self) -> int:
        """How many more jobs to claim: none while no child is ready."""
        with self.lock:
            if self.suspects.next_is_only(self.list) or not any(child.working for child in self.list):
                return 0
            held = sum(len(child.handed) for child in self.list) + len(self.waiting) + len(self.suspects)
            return self.demand.shared_room(self.config.at_once, held)

    def starving(self) -> bool:
        """Whether places are, or will soon be, without work."""
        with self.lock:
            return sum(len(child.handed) for child in self.list) + len(self.waiting) <= 2 * self.config.at_once

    def hand_over(self) -> None:
        """Hand out what waits while there are places: suspects first, as they wait for a child of their own too."""
        with self.lock:
            frames: dict[Child, list[Any]] = {}
            for child in self.list:
                if self.suspects and child.takes_suspect and self.running() < self.config.at_once:
                    self.give_alone(child, frames)
            room = {child: child.room(self.config, self.demand) for child in self.list if child.working}
            left = self.config.at_once - self.running()
            while self.waiting:
                one = self.waiting[0]
                free = [child for child, room_of in room.items() if min(room_of[one.is_async], room_of[2]) > 0]
                if not free:
                    break
                child = min(free, key=lambda child: len(child.handed))
                if not self.takes(child, one, left):
                    break
                left -= len(child.handed) < self.config.threads
                room[child][one.is_async] -= 1
                room[child][2] -= 1
                self.waiting.popleft()
                self.waiting_coroutines -= one.is_async
                self.give(child, one, frames)
            self.send(frames)

    def takes(self, child: Child, one: Handed, left: int) -> bool:
        """Whether a child may have a job while the pool has so many places left.

        Ahead of its places it gets only what is sure to wait there for those that run: jobs that are all functions, or
        all coroutines. Suspects that wait for a place come first.
        """
        if len(child.handed) < self.config.threads:
            return left > 0
        alike = child.coroutines == len(child.handed) if one.is_async else child.coroutines == 0
        return alike and not self.suspects and one.job.task in self.demand.kinds
