"""Jobs in a two-phase commit: enqueued in a transaction that is prepared now, and committed by somebody later."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from belayed import State
from belayed.jobs import Jobs
from tests.servers import PostgresServer
from tests.worker.helpers import eventually, execute, states, worker
from tests.worker.tasks import double


@pytest.fixture
def server(private_postgres: PostgresServer) -> PostgresServer:
    """A server that takes prepared transactions, which none does by default."""
    with (private_postgres.directory / "postgresql.conf").open("a") as settings:
        settings.write("max_prepared_transactions = 4\n")
    private_postgres.stop()
    private_postgres.start()
    return private_postgres


def test_a_job_is_there_when_its_prepared_transaction_is_committed(
    server: PostgresServer, opened: Callable[..., Jobs]
) -> None:
    jobs = opened(server.url(), hints=False)
    with psycopg.connect(jobs.url) as raw:
        job = double.using(connection=raw).enqueue(4)
        other = double.using(connection=raw).enqueue(5)
        raw.execute("PREPARE TRANSACTION 'order 7'")
        raw.rollback()
    # It survives the server.
    server.stop("immediate")
    server.start()
    assert jobs.find() == []

    with worker(jobs):
        execute(jobs, "COMMIT PREPARED 'order 7'")

        eventually(lambda: states(job, other) == [State.SUCCEEDED] * 2)
    assert job.result == 8


def test_with_hints_the_database_refuses_it(server: PostgresServer, opened: Callable[..., Jobs]) -> None:
    jobs = opened(server.url())
    with psycopg.connect(jobs.url) as raw:
        double.using(connection=raw).enqueue(4)

        with pytest.raises(psycopg.errors.FeatureNotSupported, match="NOTIFY"):
            raw.execute("PREPARE TRANSACTION 'order 7'")

    assert jobs.find() == []
