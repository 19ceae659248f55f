"""A job's own transaction: its effects and its completion are committed together, or neither is."""

from __future__ import annotations

from types import TracebackType
from typing import Any

from belayed.claim import Completion, Finished, Running
from belayed.codec import Codec
from belayed.config import Config
from belayed.connections import is_async
from belayed.errors import BelayedError, ClaimLost, ConfigError, StoreError
from belayed.results import succeeded
from belayed.steps import Steps
from belayed.store import Store
from belayed.store.answers import PASSED_OVER


class JobTransaction:
    """The block of CurrentJob.transaction, on a connection as `wrap` makes it."""

    def __init__(self, store: Store, config: Config, codec: Codec, run: Running, connection: Any) -> None:
        self.store, self.config, self.codec = store, config, codec
        self.run, self.connection = run, connection
        # Nobody has claimed what runs where it is enqueued.
        self.inline = not run.claimed.token
        self.completion = Completion()

    def __enter__(self) -> Completion:
        self.refuse()
        if is_async(self.connection):
            raise ConfigError("this connection is async: write `async with current_job().transaction(connection):`")
        self.connection.begin()
        self.run.completing = True
        return self.completion

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run.completing = False
        if error is not None:
            self.connection.roll_back()
            return
        try:
            finished = self.finished()
            self.connection.intact()
            if not self.inline:
                self.connection.perform(self.written(finished))
            self.connection.commit()
        except BaseException:
            self.connection.roll_back()
            raise
        self.completed(finished)

    async def __aenter__(self) -> Completion:
        self.refuse()
        if not is_async(self.connection):
            raise ConfigError("this connection is not async: write `with current_job().transaction(connection):`")
        await self.connection.begin()
        self.run.completing = True
        return self.completion

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run.completing = False
        if error is not None:
            await self.connection.roll_back()
            return
        try:
            finished = self.finished()
            await self.connection.intact()
            if not self.inline:
                await self.connection.perform(self.written(finished))
            await self.connection.commit()
        except BaseException:
            await self.connection.roll_back()
            raise
        self.completed(finished)

    def refuse(self) -> None:
        """Raise BelayedError if the job has been completed, or is about to be."""
        if self.run.completed is not None:
            raise BelayedError(
                f"{self.run.job!r} has been completed by an earlier current_job().transaction(): a job is completed "
                "once, so put what belongs together into one block"
            )
        if self.run.completing:
            raise BelayedError(
                f"{self.run.job!r} is in a block of current_job().transaction() already: do the rest on its connection"
            )

    def finished(self) -> Finished:
        """What is written of the job: that it has succeeded."""
        seconds = self.run.seconds
        return succeeded(self.run.claimed, self.completion.result, seconds, self.config, self.codec)

    def written(self, finished: Finished) -> Steps[None]:
        """Write the completion. Raises ClaimLost if it was refused, StoreError if the database has passed over it."""
        turn = yield from self.store.turn([finished])
        if finished.id not in turn.held:
            if (yield from self.store.holds(finished)):
                raise StoreError(
                    f"what {self.run.job!r} wrote was rolled back, as it cannot be completed: {PASSED_OVER}"
                )
            raise ClaimLost(
                f"what {self.run.job!r} wrote was rolled back: this attempt has lost its claim, and another worker may "
                "run the job (or the connection is to another database than that of the jobs)"
            )

    def completed(self, finished: Finished) -> None:
        finished.written = True
        self.run.completed = finished
        if self.run.on_completed is not None:
            self.run.on_completed(self.run)
