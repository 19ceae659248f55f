"""PostgreSQL connections of ours, by psycopg, and the listener for hints."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

from belayed.connections.base import is_of_hint, is_within, store_error
from belayed.connections.parameters import ConnectionParameters
from belayed.connections.sockets import readable
from belayed.errors import AttemptStopped, ConfigError, StoreError
from belayed.steps import Answer, Ask, Load, Params, Request, Row, Statement, Steps, arun, run

try:
    import psycopg
    from psycopg import sql
    from psycopg.pq import TransactionStatus
    from psycopg.rows import tuple_row
    from psycopg.types.numeric import Int8BinaryLoader

    from belayed.connections.deadlines import AsyncConnection, Connection, NoAnswer, opening
    from belayed.connections.executing import acopied, aexecuted, answers, copied, executed
    from belayed.connections.prepared import Prepared, Unwritten
    from belayed.connections.unreachable import quotable, unreachable
except ImportError as error:
    raise ConfigError(
        f"PostgreSQL needs psycopg, which cannot be imported ({error}): pip install 'belayed[postgres]'"
    ) from error

T = TypeVar("T")

WHO = "SELECT pg_backend_pid()"
LOCK_TIMEOUT = "SET {}lock_timeout = '{:.0f}ms'"
SET_ROLE = "SET {}ROLE {}"
VICTIM = ("40001", "40P01")
"""What a transaction is told that had to give way (a deadlock): it was rolled back whole."""
TRIES = 5
"""How often a request is sent that is a transaction by itself and had to give way."""


def nothing() -> None:
    """What is to be done meanwhile, as a rule."""


class OwnPsycopg:
    """A psycopg connection of ours: each operation is a transaction, in as few trips as can be.

    It leaves no trace in the session, so that it works through PgBouncer; only where the session is proved to be its
    own, the statements that are asked for each job are prepared.
    """

    dialect = "postgresql"

    def __init__(
        self, parameters: ConnectionParameters, *, timeout: float | None = None, lock_timeout: float | None = None
    ) -> None:
        """*timeout* is how many seconds an answer may take, *lock_timeout* how many a statement may wait for a lock."""
        self.timeout = timeout
        self.first: list[bytes] = []
        """What each transaction begins with, where the session is not our own."""
        try:
            self.raw = Connection.connect(**opening(parameters, timeout))
        except (psycopg.Error, UnicodeError) as error:
            raise unreachable(error, parameters) from quotable(error, parameters)
        try:
            self.raw.timeout = timeout
            self.raw.adapters.register_loader("timestamp", Int8BinaryLoader)
            self.direct = is_direct(self.raw, self.raw.execute(WHO).fetchone())
            self.prepared = Prepared(self.raw) if self.direct else None
            self.reads_alone = self.direct or parameters.role is None
            """Whether a transaction that only reads needs nothing of what the others begin with."""
            first = session(self.raw, parameters, lock_timeout, "" if self.direct else "LOCAL ")
            if self.direct:
                for text in first:
                    self.raw.execute(text)
            else:
                self.first = first
        except BaseException as error:
            self.raw.close()
            if not isinstance(error, psycopg.Error | UnicodeError):
                raise
            raise unreachable(error, parameters) from quotable(error, parameters)
        self.begun = False
        self.meanwhile: Callable[[], None] = nothing
        """Called once in the next operation: while the server is at work, if its last request is a pipeline."""

    def perform(self, steps: Steps[T]) -> T:
        try:
            result = run(steps, self.send)
            if self.begun:
                self.end("COMMIT")
        except BaseException:
            # A pipeline that failed with its COMMIT leaves the transaction open.
            if self.begun or self.raw.info.transaction_status == TransactionStatus.INERROR:
                self.roll_back()
            raise
        finally:
            self.occupy()
        return result

    def ask(self, call: tuple[Statement, Params]) -> list[Row]:
        """The rows of a statement that is an operation by itself."""
        prepared = self.prepared
        if prepared is not None and prepared.knows(call[0]):
            try:
                return prepared.answered(*call, self.timeout)
            except Unwritten:
                pass
            except (UnicodeError, psycopg.Error) as error:
                self.refused(error, uncertain=True, again=True)
        return self.send(Ask((call,), last=True))[0]

    def refused(self, error: UnicodeError | psycopg.Error, *, uncertain: bool, again: bool) -> None:
        """Raise the error of ours for one of psycopg's; nothing, if what has been asked is to be asked *again*."""
        if isinstance(error, UnicodeError):
            raise store_error(error) from error
        if isinstance(error, NoAnswer) and not self.raw.closed:
            self.raw.give_up()
        if isinstance(error.__context__, AttemptStopped):
            # The job was stopped while it waited, and psycopg could not leave the pipeline in good order.
            raise error.__context__ from None
        if error.sqlstate not in VICTIM or not again:
            if is_of_hint(error.sqlstate, str(error)):
                self.roll_back()
            raise translated(error, self.raw, uncertain=uncertain) from error
        self.roll_back()

    def occupy(self) -> None:
        """Do what is to be done meanwhile."""
        if self.meanwhile is not nothing:
            meanwhile, self.meanwhile = self.meanwhile, nothing
            meanwhile()

    def send(self, request: Request) -> Answer:
        self.raw.timeout = None if request.patient else self.timeout
        tries = TRIES if request.last and not self.begun else 1
        while True:
            tries -= 1
            try:
                return self.sent(request)
            except (UnicodeError, psycopg.Error) as error:
                self.refused(error, uncertain=commits(request, self.begun), again=tries > 0)

    def sent(self, request: Request) -> Answer:
        plain = not self.first or (request.read and self.reads_alone)
        if isinstance(request, Ask) and len(request.calls) == 1 and not self.begun and plain:
            if request.read or request.last:
                ((statement, params),) = request.calls
                return [self.alone(statement, params)]
        # One statement alone commits by itself. Several are a transaction by name: a pipeline would be one, too, but an
        # error on this side of it (a text that the server's encoding lacks) would commit what was sent before.
        alone = not self.begun and plain and (request.read or (request.last and is_whole(request)))
        opening = not self.begun and not alone
        closing = request.last and not alone
        if isinstance(request, Load):
            if opening:
                self.begin()
            answer = [copied(self.raw, request)]
            if closing:
                self.end("COMMIT")
            return answer
        if is_single(request) and not opening and not closing:
            ((statement, params),) = request.calls
            return [executed(self.raw, statement.pyformat, params)]
        with self.raw.pipeline():
            if opening:
                self.begin()
            cursors = [self.raw.cursor(row_factory=tuple_row, binary=True) for _ in request.calls]
            for cursor, (statement, params) in zip(cursors, request.calls, strict=True):
                cursor.execute(statement.pyformat.encode(), params)
            if closing:
                self.end("COMMIT")
                # All has been sent: the server works while it is read on.
                self.occupy()
        return [cursor.fetchall() if answers(cursor) else [] for cursor in cursors]

    def alone(self, statement: Statement, params: Params) -> list[Row]:
        """The rows of a statement that is a transaction by itself."""
        prepared = self.prepared
        if prepared is not None and statement.kept:
            try:
                if prepared.knows(statement):
                    return prepared.answered(statement, params, self.raw.timeout)
                return self.raw.wait(prepared.ask(statement, params))
            except Unwritten:
                pass
        return executed(self.raw, statement.pyformat, params)

    def begin(self) -> None:
        self.raw.execute("BEGIN")
        self.begun = True
        for text in self.first:
            self.raw.execute(text)

    def end(self, how: str) -> None:
        self.begun = False
        try:
            self.raw.execute(how.encode())
        except psycopg.Error as error:
            raise translated(error, self.raw, uncertain=how == "COMMIT") from error

    def roll_back(self) -> None:
        """Roll back if that can be done: what went wrong before is the news."""
        self.begun = False
        if not self.raw.closed:
            with suppress(psycopg.Error):
                self.raw.execute("ROLLBACK")

    def usable(self) -> bool:
        """Whether it is idle and nothing has come from the server, whose good-bye it would be."""
        return self.prepared.usable() if self.prepared else idle(self.raw) and not readable(self.raw.fileno())

    def close(self) -> None:
        self.raw.close()


class OwnAsyncPsycopg:
    """As OwnPsycopg, awaited."""

    dialect = "postgresql"

    def __init__(self, raw: AsyncConnection, timeout: float | None) -> None:
        self.raw = raw
        self.timeout = raw.timeout = timeout
        self.begun = False
        self.prepared: Prepared | None = None
        self.first: list[bytes] = []

    @classmethod
    async def open(cls, parameters: ConnectionParameters, *, timeout: float | None = None) -> OwnAsyncPsycopg:
        try:
            raw = await AsyncConnection.connect(**opening(parameters, timeout))
        except (psycopg.Error, UnicodeError) as error:
            raise unreachable(error, parameters) from quotable(error, parameters)
        try:
            raw.adapters.register_loader("timestamp", Int8BinaryLoader)
            own = cls(raw, timeout)
            if is_direct(raw, await (await raw.execute(WHO)).fetchone()):
                own.prepared = Prepared(raw)
                for text in session(raw, parameters):
                    await raw.execute(text)
            else:
                own.first = session(raw, parameters, local="LOCAL ")
        except BaseException as error:
            await raw.close()
            if not isinstance(error, psycopg.Error | UnicodeError):
                raise
            raise unreachable(error, parameters) from quotable(error, parameters)
        return own

    async def perform(self, steps: Steps[T]) -> T:
        try:
            result = await arun(steps, self.send)
            if self.begun:
                await self.end("COMMIT")
        except BaseException:
            if self.begun:
                await self.roll_back()
            raise
        return result

    async def send(self, request: Request) -> Answer:
        self.raw.timeout = None if request.patient else self.timeout
        tries = TRIES if request.last and not self.begun else 1
        while True:
            tries -= 1
            try:
                answer = await self.sent(request)
            except UnicodeError as error:
                raise store_error(error) from error
            except psycopg.Error as error:
                if error.sqlstate not in VICTIM or not tries:
                    if is_of_hint(error.sqlstate, str(error)):
                        await self.roll_back()
                    raise translated(error, self.raw, uncertain=commits(request, self.begun)) from error
                if self.begun:
                    await self.end("ROLLBACK")
            else:
                if request.last and self.begun:
                    await self.end("COMMIT")
                return answer

    async def sent(self, request: Request) -> Answer:
        if not self.begun and (self.first or not (request.read or (request.last and is_single(request)))):
            self.begun = True
            await self.raw.execute("BEGIN")
            for text in self.first:
                await self.raw.execute(text)
        if isinstance(request, Load):
            return [await acopied(self.raw, request)]
        return [await self.answer(statement, params) for statement, params in request.calls]

    async def answer(self, statement: Statement, params: Params) -> list[Row]:
        if self.prepared is not None and statement.kept:
            with suppress(Unwritten):
                return await self.raw.wait(self.prepared.ask(statement, params))
        return await aexecuted(self.raw, statement.pyformat, params)

    async def end(self, how: str) -> None:
        self.begun = False
        try:
            await self.raw.execute(how.encode())
        except psycopg.Error as error:
            raise translated(error, self.raw, uncertain=how == "COMMIT") from error

    async def roll_back(self) -> None:
        """Roll back if that can be done: what went wrong before is the news."""
        self.begun = False
        if not self.raw.closed:
            with suppress(psycopg.Error):
                await self.raw.execute("ROLLBACK")

    def usable(self) -> bool:
        """Whether it is idle and nothing has come from the server, whose good-bye it would be."""
        return idle(self.raw) and not readable(self.raw.fileno())

    async def close(self) -> None:
        await self.raw.close()


def is_direct(raw: psycopg.Connection[Any] | psycopg.AsyncConnection[Any], backend: Any) -> bool:
    """Whether the server's process is the one that the connection was made to: a pooler shows one of its own making.

    Only then may statements be prepared.
    """
    return backend is not None and bool(backend[0] == raw.info.backend_pid)


def session(
    raw: psycopg.Connection[Any] | psycopg.AsyncConnection[Any],
    parameters: ConnectionParameters,
    lock_timeout: float | None = None,
    local: str = "",
) -> list[bytes]:
    """What sets up a session; or each transaction, if that is what it is to be *local* to."""
    texts = []
    if parameters.role is not None:
        texts.append(SET_ROLE.format(local, sql.Literal(parameters.role).as_string(raw)))
    if lock_timeout is not None:
        texts.append(LOCK_TIMEOUT.format(local, lock_timeout * 1000))
    return [text.encode() for text in texts]


def idle(raw: Any) -> bool:
    # Of a connection that is closed it is UNKNOWN.
    return bool(raw.pgconn.transaction_status == TransactionStatus.IDLE)


def commits(request: Request, begun: bool) -> bool:
    """Whether *request* ends a transaction in its own trip: if the answer is lost, so is whether it was committed."""
    return request.last and not request.read and not begun


def is_whole(request: Request) -> bool:
    """Whether it is one statement, which commits by itself."""
    return isinstance(request, Load) or len(request.calls) == 1


def is_single(request: Request) -> bool:
    return not isinstance(request, Load) and len(request.calls) == 1


def translated(error: psycopg.Error, raw: Any, *, uncertain: bool = False) -> StoreError:
    """The error of ours for what psycopg raised on *raw*."""
    gone = raw.closed or isinstance(error, psycopg.InterfaceError)
    late = isinstance(error, NoAnswer)
    found = store_error(
        error,
        sqlstate=error.sqlstate,
        gone=gone,
        late=late,
        uncertain=uncertain and gone,
        within=is_within(error.diag.context, error.diag.severity_nonlocalized),
    )
    found.again = idle(raw)
    return found
