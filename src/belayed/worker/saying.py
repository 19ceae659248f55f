"""What is called around an attempt in the thread that runs it: if that hangs, the thread is given up, not the outcome.

It is a log handler, or what is called when an attempt has ended: its hooks, plugins, the text of its error.
"""

from __future__ import annotations

from collections.abc import Callable

from belayed.claim import Claimed, Running
from belayed.safelog import log
from belayed.worker.silence import nothing

HANGS = 5.0
"""Seconds after which a log handler hangs: its thread is given up, and the job goes on without it."""
VERDICT = 60.0
"""Seconds after which what is called at the end of an attempt hangs, unless its time limit is over before."""

Said = tuple[Claimed, Running | None]
"""The job that is spoken of, with its attempt while the outcome is being found; None: it starts."""


class Hanging(Exception):
    """What a thread is said to have died of that was given up because a log handler, a hook or a plugin hangs."""


class Saying:
    """One thread's calls of what may hang. Another thread looks from time to time whether one does."""

    def __init__(self) -> None:
        self.box: list[Said] = []
        """What is going on. Whoever takes it out, of the two threads, goes on with the job: no lock is needed."""
        self.seen: Said | None = None
        self.seen_at = 0.0
        self.given_up = False

    def say(self, call: Callable[[Claimed], None], claimed: Claimed) -> bool:
        """Log by *call* that an attempt starts. Raises nothing.

        False: it took so long that the thread was given up. Then the job is no longer this thread's.
        """
        self.box.append((claimed, None))
        if call is not nothing:
            try:
                call(claimed)
            except BaseException as error:
                log.complain(error)
        return self.conclude()

    def judge(self, run: Running) -> None:
        """An attempt's code has ended; from here to `conclude` its outcome is found, and those are called who hear."""
        self.box.append((run.claimed, run))

    def conclude(self) -> bool:
        """What was going on has come to its end; False as in `say`."""
        try:
            self.box.pop()
        except IndexError:
            return False
        return True

    def judging(self) -> Running | None:
        """The attempt whose code has ended, and whose outcome is not known yet."""
        try:
            return self.box[0][1]
        except IndexError:
            return None

    def hung(self, now: float) -> Said | None:
        """Give the thread up if it hangs: the job that it was about, and what is known of it."""
        if not self.looks_busy(now) or now < self.due():
            return None
        try:
            said = self.box.pop()
        except IndexError:
            return None
        # If it has gone on in this very moment it is another job, which is now in the same case: the thread may have
        # found the box empty already.
        self.given_up = True
        return said

    def looks_busy(self, now: float) -> bool:
        """Take note of what is being logged now; whether anything is."""
        try:
            said = self.box[0]
        except IndexError:
            self.seen = None
            return False
        if said is not self.seen:
            self.seen, self.seen_at = said, now
        return True

    def due(self) -> float:
        """When it is to be looked at again."""
        if self.seen is None or self.given_up:
            return float("inf")
        about = self.seen[1]
        if about is None:
            return self.seen_at + HANGS
        end = self.seen_at + VERDICT
        return end if about.deadline is None else max(self.seen_at + HANGS, min(end, about.deadline))


def hanging(said: Said) -> str:
    """What hangs, in words."""
    if said[1] is not None:
        return "what is called at the end of a job (its hooks, plugins, the text of its error) does not return"
    return f"a log handler has not returned for {HANGS:g} s"
