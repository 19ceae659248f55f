"""What has become of outcomes: counted and logged once they are written, looked at once they are refused."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from belayed.claim import Finished
from belayed.job import State
from belayed.store.answers import Turn
from belayed.worker.report import Report, Summary
from belayed.worker.strangers import Strangers


class Answer(NamedTuple):
    """What a turn has brought."""

    turn: Turn
    claimed_at: float
    finished: list[Finished]


class Record:
    """The record of one run of a worker. Asks the database nothing."""

    def __init__(self, report: Report, ended: Callable[[Finished], None]) -> None:
        """*ended* is called for each outcome that was written and is no success."""
        self.report, self.ended = report, ended
        self.summary = Summary()
        self.strangers = Strangers()
        self.refused: list[Finished] = []
        """What was refused, and has not been looked at."""
        self.sent: set[int] = set()
        """The jobs whose outcomes have been sent, and not answered: they may have been written nevertheless."""

    def unanswered(self, finished: Iterable[Finished]) -> None:
        """These were sent, and no answer came."""
        self.sent.update(one.id for one in finished)

    def take(self, finished: Sequence[Finished], held: set[int]) -> None:
        """Count and log what was written: the jobs that were *held*; a refused outcome changed nothing."""
        if refused := [one for one in finished if one.id not in held]:
            self.refused += refused
            finished = [one for one in finished if one.id in held]
        self.report.written(finished)
        for one in finished:
            if one.state is State.SUCCEEDED:
                self.summary.succeeded += 1
                continue
            self.summary.count(one)
            if one.unknown:
                self.strangers.given_back(one)
            self.ended(one)
        if not self.refused:
            self.sent.clear()

    def settle(self, settled: Mapping[int, State | None]) -> None:
        """Of what was refused tell what is lost from what had been written before; *settled* is what the store says."""
        refused, self.refused = self.refused, []
        for one in refused:
            # What is not kept leaves no trace.
            if one.id not in settled and (one.keep or one.id not in self.sent):
                self.report.refused(one)
                continue
            state = settled.get(one.id)
            if state is None or state is one.state:
                self.summary.count(one)
                self.report.written([one])
            elif state is State.SUCCEEDED:
                # It completed in its own transaction, and then its process died, or the commit's answer was lost.
                self.summary.succeeded += 1
                self.report.completed(one)
        self.sent.clear()
