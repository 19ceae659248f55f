"""The contract of a store: where jobs are kept, and the operations on them. `tests/store/` is its full definition.

Every operation is a generator (see belayed.steps): it yields what it asks and returns its answer, and is one
transaction. Each takes `now`, for tests that move time; None is the database's clock.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from belayed.claim import Finished
from belayed.errors import BrokenPayload, StoreError
from belayed.job import Attempt, Draft, Filter, Job, State
from belayed.steps import Params, Row, Statement, Steps
from belayed.store.answers import (
    Beat,
    Checked,
    Counts,
    Drafts,
    Ids,
    Inserted,
    Made,
    Overdue,
    Place,
    Promoted,
    Rescued,
    Sessions,
    Sign,
    Signs,
    Turn,
    Wanted,
    WorkerRow,
    inserted_only,
)
from belayed.store.findings import Finding
from belayed.store.lanes import Lanes, Serving


class Store(ABC):
    """Where jobs are kept."""

    dialect: str
    one_writer = False
    """Whether a transaction that has written keeps everybody else from writing."""
    hints = True
    """Whether operations may wake workers by a hint, where the store can."""
    has_schemas = False
    """Whether a database has several places for tables of the same names."""
    pinned = True
    """Whether its statements mean the same tables on each connection to the database."""
    ahead = timedelta()
    """How much later than it is the store takes it to be: for tests that travel in time."""
    overlaps = False
    """Whether the database works while the rows of a bulk load are made; if not, all others wait for as long."""

    @abstractmethod
    def lanes(self, serving: Serving) -> Lanes:
        """The memory of a claimer that serves these jobs; one for each loop that claims."""

    @abstractmethod
    def insert(self, draft: Draft, *, hint: str | None = None, now: datetime | None = None) -> Steps[Inserted]:
        """Save a draft whose `text` is written. *hint* wakes workers that listen, where the store can."""

    @abstractmethod
    def plain_insert(self, draft: Draft, hint: str | None) -> tuple[Statement, Params] | None:
        """All that `insert` would ask, if that is one statement; None: it is more, or depends on more."""

    @abstractmethod
    def plainly_inserted(self, rows: list[Row]) -> tuple[int, datetime]:
        """The id and the time of creation, from what answers the statement of `plain_insert`. Raises StoreError."""

    @abstractmethod
    def silenced(self, error: StoreError) -> None:
        """Send no hints for a while if the database refused one. Raises *error* unless it is of that kind alone.

        Then all is undone, and the operation may be asked for again, without.
        """

    @abstractmethod
    def explanation(self, error: StoreError) -> Steps[None] | None:
        """What asks the database why it refused something, and raises an error that says so; None: *error* does."""

    @abstractmethod
    def insert_many(
        self,
        drafts: Drafts,
        *,
        made: Made = inserted_only,
        hint: str | None = None,
        now: datetime | None = None,
    ) -> Steps[list[Any]]:
        """Save drafts, all or none; the answer is what is *made* of each, in their order, and so are the ids.

        Drafts are read, and something made of them, while the database takes in those before, and perhaps once more.
        """

    @abstractmethod
    def turn(
        self, finished: Sequence[Finished], wanted: Wanted | None = None, *, now: datetime | None = None
    ) -> Steps[Turn]:
        """Write what has finished and claim new jobs, in one transaction and as few trips as can be.

        Fenced: an outcome whose token is not the row's any more is refused and changes nothing. A claim brings at
        most as many jobs as wanted, by priority, run_at and id over all lanes; none of a paused queue.
        """

    @abstractmethod
    def first(self, lanes: Lanes, count: int, *, now: datetime | None = None) -> Steps[list[int]]:
        """The jobs that a claim would bring first, at most *count*; others may claim them before."""

    @abstractmethod
    def settled(self, worker: str, refused: Sequence[Finished]) -> Steps[dict[int, State | None]]:
        """Which of *worker*'s outcomes that `turn` refused are written all the same, by id; and how the job ended.

        The answer to an earlier turn was lost, or the job has completed itself. None: it did not end, or is not kept.
        """

    @abstractmethod
    def payload(self, id: int, token: str) -> Steps[str | None]:
        """The payload of a claimed job; None if the claim is lost."""

    def holds(self, one: Finished) -> Steps[bool]:
        """Whether a job is still claimed as it was when this outcome was made of it."""
        try:
            return (yield from self.payload(one.id, one.token)) is not None
        except BrokenPayload:
            return True

    @abstractmethod
    def beat(self, worker: WorkerRow, *, now: datetime | None = None) -> Steps[Beat]:
        """Say that *worker* is alive; registers it when it is not. Raises StoreError if its row is not there then."""

    @abstractmethod
    def retire(self, worker: str) -> Steps[None]:
        """Forget a worker that has given everything back."""

    @abstractmethod
    def signs(self, worker: str = "") -> Steps[Signs]:
        """The last sign of life of each worker that is registered or holds claims; and the jobs that *worker* holds."""

    @abstractmethod
    def rescue(
        self,
        dead: Sequence[Sign],
        *,
        most: int = 10,
        only: Sequence[int] | None = None,
        recorded: bool = True,
        now: datetime | None = None,
    ) -> Steps[Rescued]:
        """Give back the jobs of workers that were seen *dead*: of those that still show the same sign of life.

        At most 1000 jobs in one go; a worker stays as it is until all of its are back. A job that was rescued *most*
        times fails as poison; one that was asked to be cancelled is cancelled. *only* these jobs, if given; and without
        a record of their attempts if not *recorded*.
        """

    @abstractmethod
    def held_by(self, workers: Sequence[str], *, count: int = 1000) -> Steps[list[int]]:
        """At most *count* of the jobs that these workers hold."""

    @abstractmethod
    def locked(self, ids: Sequence[int]) -> Steps[list[int]]:
        """Those of these jobs whose rows another transaction keeps from being written now. Waits for none of them."""

    @abstractmethod
    def strays(self, worker: str, known: Sequence[int], *, now: datetime | None = None) -> Steps[list[int]]:
        """Give back, uncharged, what *worker* has claimed but does not know of; the ids."""

    @abstractmethod
    def promote(
        self, *, count: int = 1000, only: Sequence[int] | None = None, now: datetime | None = None
    ) -> Steps[Promoted]:
        """Make at most *count* scheduled jobs that are due ready; *only* these, if given."""

    @abstractmethod
    def scheduled(self, *, count: int = 1000, now: datetime | None = None) -> Steps[list[tuple[int, float]]]:
        """The jobs that are due next, at most *count*, and in how many seconds each is."""

    @abstractmethod
    def get(self, id: int) -> Steps[tuple[Job, list[Attempt]] | None]:
        """A job, live or ended, with its attempts."""

    @abstractmethod
    def attempts(self, id: int) -> Steps[list[Attempt]]:
        """The attempts of a job that did not succeed, oldest first."""

    @abstractmethod
    def find(self, filter: Filter, *, before: int | None = None, count: int = 100) -> Steps[list[Job]]:
        """At most *count* jobs, newest first, with ids below *before*: a page ends where the next begins."""

    @abstractmethod
    def matching(self, filter: Filter, *, after: int = 0, count: int = 1000) -> Steps[list[int]]:
        """At most *count* ids above *after*, in order."""

    @abstractmethod
    def counts(self, *, most: int = 1_000_000) -> Steps[Counts]:
        """Jobs by queue and state; ended ones by state, counted up to *most*."""

    @abstractmethod
    def overdue(self, age: float, *, now: datetime | None = None) -> Steps[list[Overdue]]:
        """The queues with jobs that were never tried and have been due for more than *age* seconds; by name."""

    @abstractmethod
    def workers(self, *, now: datetime | None = None) -> Steps[list[WorkerRow]]:
        """The registered workers, oldest first."""

    @abstractmethod
    def cancel(self, ids: Sequence[int], *, now: datetime | None = None) -> Steps[list[int]]:
        """Cancel waiting jobs now, and running ones by request. The ids of both; those that had ended are missing."""

    @abstractmethod
    def retry(self, ids: Sequence[int], *, now: datetime | None = None) -> Steps[list[int]]:
        """Make failed, cancelled and scheduled jobs ready now, their counters at zero."""

    @abstractmethod
    def delete(self, ids: Sequence[int]) -> Steps[list[int]]:
        """Delete waiting and ended jobs with their attempts. A running job stays."""

    @abstractmethod
    def change(
        self,
        ids: Sequence[int],
        *,
        queue: str | None = None,
        priority: int | None = None,
        run_at: datetime | None = None,
        delay: float | None = None,
        now: datetime | None = None,
    ) -> Steps[list[int]]:
        """Change waiting jobs: what is None stays."""

    @abstractmethod
    def mend(self, ids: Sequence[int]) -> Steps[None]:
        """Set the columns of these jobs to what is read of them: for those that no other table takes as they are."""

    @abstractmethod
    def pause(self, queue: str, *, now: datetime | None = None) -> Steps[None]:
        """No more claims from *queue*, until it is resumed."""

    @abstractmethod
    def resume(self, queue: str) -> Steps[None]:
        """Claims from *queue* again."""

    @abstractmethod
    def paused(self) -> Steps[list[str]]:
        """The paused queues."""

    @abstractmethod
    def prune(self, state: State, age: float, *, count: int = 1000, now: datetime | None = None) -> Steps[int]:
        """Delete at most *count* jobs that ended in *state* more than *age* seconds ago; how many it was.

        Raises StoreError if the database passes over all of them.
        """

    @abstractmethod
    def passed(self, place: Place | None, count: int) -> Steps[Place | None]:
        """The place of the succeeded job that is *count* older than the one at *place*; None: there is none.

        Without a *place* the newest is the first. Its cost grows with *count*.
        """

    @abstractmethod
    def prune_excess(self, edge: Place, *, count: int = 1000) -> Steps[int]:
        """Delete at most *count* of the succeeded jobs from *edge* on, the oldest first; how many it was.

        Raises StoreError if the database passes over all of them.
        """

    @abstractmethod
    def now(self) -> Steps[datetime]:
        """The database's clock."""

    @abstractmethod
    def check(self) -> Steps[Checked]:
        """What the database says of itself; its tables need not be there."""

    def sessions(self) -> Steps[Sessions | None]:
        """What the server does with the sessions of vanished clients; None: there is no server."""
        yield from ()
        return None

    @abstractmethod
    def place(self) -> Steps[str | None]:
        """Where the tables are that statements without a schema mean here: a schema; None if there are none."""

    @abstractmethod
    def pin(self, schema: str) -> None:
        """Name the tables with this schema from now on, so that no search path leads to others."""

    @abstractmethod
    def findings(self) -> Steps[list[Finding]]:
        """What may keep jobs from being saved or run, and how to mend it. It only reads; the tables must be there."""

    @abstractmethod
    def probe(self) -> Steps[Finding]:
        """Every kind of write, and whether it is taken; for a transaction that is rolled back."""

    def unfit(self, checked: Checked) -> str | None:
        """Why no tables are to be made in such a database, and what to do about it; None: it is good."""
        return None

    @abstractmethod
    def ids(self) -> Steps[list[Ids]]:
        """How the tables that count their ids stand."""

    @abstractmethod
    def version(self) -> Steps[int | None]:
        """The version of the tables. Raises SchemaMissing without them, SchemaNewer for a newer version's."""

    @abstractmethod
    def migrate(self, upto: int | None = None) -> Steps[list[int]]:
        """Bring the tables to this version, or *upto* an earlier one; the versions applied.

        Two at once: the second finds nothing to do.
        """

    @abstractmethod
    def drop(self) -> Steps[None]:
        """Drop the tables, with all jobs."""
