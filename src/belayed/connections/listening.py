"""The connection on which a worker hears hints, and the proof that the session behind it is its own."""

from __future__ import annotations

from contextlib import closing, nullcontext, suppress

import psycopg
from psycopg import sql

from belayed.connections.base import SharedSession
from belayed.connections.parameters import Source
from belayed.connections.postgresql import WHO, OwnPsycopg, is_direct, translated
from belayed.errors import StoreUnavailable

PROBE = 3.0
"""The longest that a listener waits for an answer, in seconds: its worker does nothing else in the meantime."""
ROUNDS = 2
"""How often each of two connections is asked while the other one holds a transaction."""
ECHO = "SELECT CASE WHEN pg_notification_queue_usage() < 0.5 THEN CAST(pg_notify(%s, %s) AS text) END"
SHARED = "the session is not proved to be this connection's own: a pooler may lend it to others"


class Listener:
    """A connection of its own that hears the hints of a channel."""

    def __init__(
        self, source: Source, channel: str, *, timeout: float | None = None, beside: OwnPsycopg | None = None
    ) -> None:
        """Raises StoreUnavailable, and SharedSession before anything is left in a session that others may get.

        *source* says what a connection is opened with. *beside* is another one to the same database, which is in no
        transaction; one is opened if there is none.
        """
        if beside is not None and not beside.direct:
            raise SharedSession(SHARED)
        timeout = PROBE if timeout is None else min(timeout, PROBE)
        self.channel = channel
        self.own = OwnPsycopg(source(), timeout=timeout)
        try:
            if not self.own.direct:
                raise SharedSession(SHARED)
            with nullcontext(beside) if beside else closing(OwnPsycopg(source(), timeout=timeout)) as other:
                # Of its own accord it would wait for longer; each operation sets its limit.
                other.raw.timeout = timeout
                if not are_own(other, self.own):
                    raise SharedSession(SHARED)
            self.own.raw.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        except BaseException as error:
            self.own.close()
            if isinstance(error, psycopg.Error):
                raise translated(error, self.own.raw) from error
            raise

    def fileno(self) -> int:
        return self.own.raw.fileno()

    def hints(self) -> list[str]:
        """What has come since the last time, without waiting. Raises StoreUnavailable when the connection is lost."""
        try:
            return [note.payload for note in self.own.raw.notifies(timeout=0)]
        except psycopg.Error as error:
            raise translated(error, self.own.raw) from error

    def echo(self, text: str) -> None:
        """Send a hint to oneself: heard, it proves that hints arrive."""
        try:
            # Proved is what senders do: they keep silent once the queue is half full.
            sent = self.own.raw.execute(ECHO, (self.channel, text)).fetchone()
        except psycopg.Error as error:
            raise translated(error, self.own.raw) from error
        if sent == (None,):
            raise StoreUnavailable("its NOTIFY queue is half full, so nobody sends hints: see `belayed doctor`")

    def close(self) -> None:
        self.own.close()


def are_own(one: OwnPsycopg, other: OwnPsycopg) -> bool:
    """Whether each of two connections has a process of the server to itself, and nobody lends them out.

    The numbers of the processes alone prove it only against a pooler that makes up its own. One that passes the
    server's on gives a quiet client the same process each time. So each is asked while the other holds a transaction:
    a pooler has lent that the process which was free, and must answer from another one.
    """
    for _ in range(ROUNDS):
        for holder, asked in ((one, other), (other, one)):
            holder.raw.execute("BEGIN")
            try:
                if not (is_its_own(holder) and is_its_own(asked)):
                    return False
            finally:
                # What has gone wrong before is the news.
                with suppress(psycopg.Error):
                    holder.raw.execute("ROLLBACK")
    return True


def is_its_own(connection: OwnPsycopg) -> bool:
    return is_direct(connection.raw, connection.raw.execute(WHO).fetchone())
