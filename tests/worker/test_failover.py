"""A failover to a standby that has missed the primary's last: workers go on, and ids that come again harm nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from belayed import State, enqueue_many
from belayed.jobs import Jobs
from tests.servers import PostgresServer
from tests.worker import wild
from tests.worker.helpers import eventually, execute, states
from tests.worker.tree import over, runs, tree


@pytest.fixture
def pair(private_postgres: PostgresServer) -> Iterator[str]:
    """The URL of a primary and, if that is away, of its standby."""
    standby = private_postgres.directory.with_name("standby")
    yield f"{private_postgres.url()},{quote(str(standby), safe='/')}&target_session_attrs=read-write"
    if standby.exists():
        PostgresServer(standby).destroy()


def test_a_failover_that_loses_the_last_transactions(
    pair: str, private_postgres: PostgresServer, opened: Callable[..., Jobs], tmp_path: Path, effects: Path
) -> None:
    jobs = opened(pair)
    log = tmp_path / "log"
    before = [wild.ends.enqueue(str(effects)) for _ in range(5)]
    with tree(jobs, log, lapse="30s", beat="1s") as worker:
        over(*before)
        long = wild.ends.enqueue(str(effects), 6)
        eventually(lambda: len(runs(effects)) == 6)
        standby = private_postgres.copy(private_postgres.directory.with_name("standby"))
        forgotten = [wild.ends.enqueue(str(effects)) for _ in range(50)]
        over(*forgotten)

        private_postgres.stop("immediate")
        standby.start()
        standby.promote()

        after = eventually(lambda: enqueue_many(wild.ends.draft(str(effects)) for _ in range(50)))
        over(long, *after)
        assert worker.says("the store is available again")
        assert worker.logged("was refused|gave back|rescued") == []
    assert set(states(*before, long, *after)) == {State.SUCCEEDED}
    assert {job.id for job in after} & {job.id for job in forgotten}
    assert {(job.attempt, job.rescues) for job in (long, *after)} == {(1, 0)}
    assert len(runs(effects)) == 106
    assert execute(jobs, "SELECT pg_is_in_recovery()") == [(False,)]
