"""What a connection is to the rest: something that performs the steps of an operation."""

from __future__ import annotations

from typing import Protocol, TypeVar

from belayed.errors import IdsExhausted, SchemaMissing, StoreError, StoreUnavailable, Why
from belayed.steps import Row, Statement, Steps

T = TypeVar("T")

NO_TABLES = "Belayed's tables are not in this database: run `belayed migrate`"

BEHIND = (
    "; the database may give ids that its rows have already, as after a restore: `belayed doctor` says how to mend that"
)
OPEN = (
    "current_job().transaction() begins a transaction of its own, but one is open on this connection already: commit "
    "or roll it back first"
)
ENDED = (
    "the transaction of current_job().transaction() was ended before its block, by a commit, a rollback or a statement "
    "that does one: leave both to the block. What was committed stays; the job is not completed"
)


class SharedSession(StoreError):
    """The session of a connection may be lent to others, so that nothing may be left in it."""


class Connection(Protocol):
    """A connection of the application's whose driver waits in the calling thread."""

    dialect: str

    def perform(self, steps: Steps[T]) -> T:
        """The result of *steps*, in the transaction that is open; it stays open."""
        ...

    def begin(self) -> None:
        """Begin a transaction, which writes from the start. Raises BelayedError if one is open."""
        ...

    def intact(self) -> None:
        """Raise BelayedError if the transaction that `begin` began has been ended since."""
        ...

    def commit(self) -> None:
        """Commit it. Raises StoreError; without an answer, StoreUnavailable with `uncertain` set."""
        ...

    def roll_back(self) -> None:
        """Roll it back, if that can be done: what went wrong before is the news."""
        ...


class AsyncConnection(Protocol):
    """The same of a driver that is awaited."""

    dialect: str

    async def perform(self, steps: Steps[T]) -> T: ...
    async def begin(self) -> None: ...
    async def intact(self) -> None: ...
    async def commit(self) -> None: ...
    async def roll_back(self) -> None: ...


def store_error(
    error: Exception,
    *,
    sqlstate: str | None = None,
    gone: bool = False,
    late: bool = False,
    uncertain: bool = False,
    within: bool = False,
    place: str = "the database",
) -> StoreError:
    """The error of ours for what a driver raised; *gone* says that the connection is lost, *place* where to.

    *late* says that it was given up, as no answer came in time; *within*, that it is not the server's own error, but
    one of a function that it has called: a trigger may miss a table of its own, or a server that it asks.
    """
    text = str(error).strip() or type(error).__name__
    if sqlstate in ("42P01", "3F000") and not within:
        return SchemaMissing(f"{NO_TABLES} ({text.splitlines()[0]})")
    if sqlstate == "2200H" and not within:
        return IdsExhausted()
    # 08: connection; 57P0x: shutting down; 53: too many connections, disk full; 40: deadlock, serialisation;
    # 25006: read-only after a failover; 55P03, 57014: the server's own lock_timeout, statement_timeout.
    away = sqlstate is not None and (sqlstate[:2] in ("08", "53") or sqlstate[:4] == "57P0" or sqlstate == "25006")
    again = sqlstate is not None and (sqlstate[:2] == "40" or sqlstate in ("55P03", "57014"))
    if gone or again or (away and not within):
        why: Why = "late" if late else "away"
        if not gone and sqlstate == "55P03":
            why = "locked"
        elif not gone and sqlstate is not None and (sqlstate == "57014" or sqlstate[:2] == "40"):
            why = "refused"
        return StoreUnavailable(f"{place} is not available: {text}", uncertain=uncertain, why=why)
    hint = BEHIND if sqlstate == "23505" and not within else ""
    refusal = StoreError(f"{place} refused a statement: {text}{hint}")
    refusal.of_hint = is_of_hint(sqlstate, text)
    refusal.denied = sqlstate == "42501" and not refusal.of_hint
    return refusal


def is_within(context: str | None, severity: str | None) -> bool:
    """Whether PostgreSQL says by an error's *context* that a function has failed which a statement has called.

    COPY gives one by itself, and so may the wait in which a server's shutdown ends a session.
    """
    return bool(context) and severity == "ERROR" and "COPY" not in str(context).partition("\n")[0]


def is_of_hint(sqlstate: str | None, text: str) -> bool:
    """Whether a server has refused a NOTIFY: its queue is full, or the role may not call pg_notify().

    Both words stand in its messages in every language.
    """
    return (sqlstate == "54000" and "NOTIFY" in text) or (sqlstate == "42501" and "pg_notify" in text)


def none_heard(statement: Statement, refusal: StoreError, cause: Exception) -> list[Row]:
    """The answer of a refused NOTIFY that was a transaction by itself, as in autocommit: what it is about is saved.

    Raises any other refusal.
    """
    if statement.name == "notify" and refusal.of_hint and refusal.again:
        return []
    raise refusal from cause


def unwritable(error: UnicodeEncodeError) -> StoreError:
    """The error of ours for a text that the encoding of the caller's connection lacks."""
    lacking = error.object[error.start : error.start + 1]
    return StoreError(
        f"this connection's client_encoding ({error.encoding}) has no {lacking!a}, which is in a job: nothing was "
        "saved; set it before: SET client_encoding TO 'UTF8'"
    )
