"""What a store finds of itself: each finding where all is well and where it is not; its remedy, copied, mends it."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from belayed import Jobs
from belayed.config import address
from belayed.store.answers import PASSED_OVER
from belayed.store.findings import Result
from belayed.store.serverfindings import notify_queue, out_of_reach
from tests.worker.refusing import hush
from tests.worker.tasks import double

ROLE = f"examined_{uuid4().hex[:8]}"


class Place:
    """A store of its own, and what its administrator does to it."""

    def __init__(self, url: str) -> None:
        self.url, self.jobs = url, Jobs(url)
        self.jobs.migrate()

    def sql(self, *texts: str) -> list[Any]:
        at = address(self.url)
        if at.dialect == "sqlite":
            with closing(sqlite3.connect(at.target, isolation_level=None)) as raw:
                return [raw.execute(text).fetchall() for text in texts][-1]
        with psycopg.connect(self.url, autocommit=True) as raw:
            found = [raw.execute(text.encode()) for text in texts][-1]
            return found.fetchall() if found.description else []

    def found(self, check: str, jobs: Jobs | None = None) -> list[Any]:
        jobs = jobs or self.jobs
        every = jobs.connections.perform(jobs.store.findings())
        return [finding for finding in every if finding.check == check]

    def probed(self) -> Any:
        return self.jobs.connections.rehearse(self.jobs.store.probe())

    def rows(self) -> list[Any]:
        tables = ("jobs", "history", "attempts", "workers", "queues")
        return [self.sql(f"SELECT count(*) FROM belayed_{table}")[0][0] for table in tables]


@pytest.fixture
def on_sqlite(sqlite_path) -> Iterator[Place]:
    place = Place(f"sqlite:///{sqlite_path}")
    yield place
    place.jobs.close()


@pytest.fixture
def on_postgresql(postgres_url) -> Iterator[Place]:
    place = Place(postgres_url)
    yield place
    place.jobs.close()


@pytest.fixture(params=["on_sqlite", "on_postgresql"])
def place(request) -> Place:
    return request.getfixturevalue(request.param)  # type: ignore[no-any-return]


@pytest.fixture
def examined(on_postgresql) -> Iterator[Callable[[], Jobs]]:
    """Jobs as a role that has been granted what the page says."""
    on_postgresql.sql(
        f"CREATE ROLE {ROLE} LOGIN",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {ROLE}",
        f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {ROLE}",
    )
    jobs = Jobs(on_postgresql.url.replace("postgres@", f"{ROLE}@"))
    yield jobs
    jobs.close()
    on_postgresql.sql(f"DROP OWNED BY {ROLE}", f"DROP ROLE {ROLE}")


def all_ok(findings: list[Any]) -> bool:
    return [finding.result for finding in findings] == [Result.OK]


def test_a_store_that_is_well_has_only_good_findings(place):
    place.jobs.enqueue(double.draft(1))

    every = place.jobs.connections.perform(place.jobs.store.findings())

    assert [finding for finding in every if finding.result is not Result.OK] == []
    assert place.probed().result is Result.OK


def test_the_probe_leaves_nothing_behind_and_wakes_nobody(place):
    place.jobs.enqueue(double.draft(1))
    before = place.rows()
    listener = place.jobs.connections.listener(getattr(place.jobs.store, "channel", ""))

    place.probed()

    assert place.rows() == before
    if listener is not None:
        with closing(listener):
            listener.echo("end")
            assert listener.hints() == ["end"]


def test_the_probe_touches_no_job_that_waits(place):
    job = place.jobs.enqueue(double.draft(1))

    place.probed()

    assert place.jobs.get(job.id) == job


TRIGGERS = {
    "sqlite": [
        "CREATE TRIGGER refusing BEFORE {event} ON belayed_{table} BEGIN SELECT RAISE(ABORT, 'not today'); END",
    ],
    "postgresql": [
        "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not today'; END $$",
        "CREATE TRIGGER refusing BEFORE {event} ON belayed_{table} FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
}


@pytest.mark.parametrize(
    ("event", "table", "stage"),
    [
        ("INSERT", "jobs", "save a job"),
        ("UPDATE", "jobs", "claim jobs"),
        ("DELETE", "jobs", "end a job"),
        ("INSERT", "history", "end a job"),
        ("INSERT", "attempts", "give a job back"),
        ("INSERT", "workers", "register a worker"),
        ("INSERT", "queues", "pause a queue"),
    ],
)
def test_a_write_that_is_refused_is_found(place, event, table, stage):
    place.sql(*(text.format(event=event, table=table) for text in TRIGGERS[place.jobs.store.dialect]))

    probed = place.probed()

    assert probed.result is Result.FAIL
    assert probed.text.startswith(f"to {stage} is refused: ")
    assert "not today" in probed.fix
    assert place.rows() == [0, 0, 0, 0, 0]


def test_a_trigger_of_others_is_found_and_its_remedy_drops_it(place):
    assert all_ok(place.found("relations"))
    place.sql(*(text.format(event="UPDATE", table="jobs") for text in TRIGGERS[place.jobs.store.dialect]))

    (found,) = place.found("relations")

    assert found.result is Result.WARN
    assert "'refusing'" in found.text
    place.sql(found.fix)
    assert all_ok(place.found("relations"))


def test_a_foreign_key_of_others_is_found(place):
    place.sql("CREATE TABLE orders (id integer PRIMARY KEY, job_id bigint REFERENCES belayed_jobs)")

    (found,) = place.found("relations")

    assert found.result is Result.WARN
    assert "orders" in found.text
    if place.jobs.store.dialect == "postgresql":
        place.sql(found.fix)
        assert all_ok(place.found("relations"))
    else:
        assert "without REFERENCES" in found.fix


def test_a_rule_of_others_is_found(on_postgresql):
    on_postgresql.sql("CREATE RULE silent AS ON DELETE TO belayed_history DO INSTEAD NOTHING")

    (found,) = on_postgresql.found("relations")

    on_postgresql.sql(found.fix)
    assert all_ok(on_postgresql.found("relations"))


@pytest.mark.parametrize("right", ["SELECT", "INSERT", "UPDATE", "DELETE"])
@pytest.mark.parametrize("table", ["jobs", "history", "attempts", "workers", "queues"])
def test_a_right_that_the_role_lacks_on_a_table_is_found(on_postgresql, examined, table, right):
    on_postgresql.sql(f"REVOKE {right} ON belayed_{table} FROM {ROLE}")

    (found,) = on_postgresql.found("rights", examined)

    assert found.result is Result.FAIL
    assert f"{ROLE} lacks {right} on " in found.text
    on_postgresql.sql(found.fix)
    assert all_ok(on_postgresql.found("rights", examined))


@pytest.mark.parametrize("sequence", ["jobs", "attempts"])
def test_a_right_that_the_role_lacks_on_a_sequence_is_found(on_postgresql, examined, sequence):
    on_postgresql.sql(f"REVOKE USAGE ON SEQUENCE belayed_{sequence}_id_seq FROM {ROLE}")

    (found,) = on_postgresql.found("rights", examined)

    on_postgresql.sql(found.fix)
    assert all_ok(on_postgresql.found("rights", examined))


def test_a_role_that_may_not_notify_is_found(on_postgresql, examined):
    on_postgresql.sql("REVOKE EXECUTE ON FUNCTION pg_notify FROM PUBLIC")

    (found,) = on_postgresql.found("rights", examined)

    assert found.result is Result.WARN
    on_postgresql.sql(found.fix.partition(" --")[0])
    assert all_ok(on_postgresql.found("rights", examined))


def test_a_schema_that_the_role_may_not_use_is_found(on_postgresql, examined):
    with closing(Jobs(on_postgresql.url, schema="work")) as owner:
        owner.migrate()
    with closing(Jobs(examined.url, schema="work")) as jobs:
        (found,) = on_postgresql.found("rights", jobs)

        assert found.fix == f"GRANT USAGE ON SCHEMA work TO {ROLE};"
        on_postgresql.sql(found.fix)
        assert all("lacks" in finding.text for finding in on_postgresql.found("rights", jobs))
    assert out_of_reach([]) == []


def test_row_level_security_is_found(on_postgresql, examined):
    assert all_ok(on_postgresql.found("row security", examined))
    on_postgresql.sql("ALTER TABLE belayed_jobs ENABLE ROW LEVEL SECURITY")

    (found,) = on_postgresql.found("row security", examined)

    assert found.result is Result.FAIL
    # The owner sees all rows.
    assert all_ok(on_postgresql.found("row security"))
    on_postgresql.sql(found.fix)
    assert all_ok(on_postgresql.found("row security", examined))


def test_a_second_copy_on_the_search_path_is_found(on_postgresql):
    with closing(Jobs(on_postgresql.url, schema="tenant")) as other:
        other.migrate()
    assert all_ok(on_postgresql.found("copies"))

    with closing(Jobs(f"{on_postgresql.url}&options=-csearch_path%3Dpublic%2Ctenant")) as jobs:
        (found,) = on_postgresql.found("copies", jobs)

    assert found.result is Result.WARN
    assert "in tenant" in found.text
    assert found.fix == "export BELAYED_SCHEMA=public"


@pytest.mark.parametrize(("usage", "result"), [(0.0, "ok"), (0.09, "ok"), (0.2, "warn"), (0.7, "fail")])
def test_a_notify_queue_that_fills_up_is_found(usage, result):
    (found,) = notify_queue([(usage, 4711)])

    assert found.result.value == result
    assert found.fix == ("" if result == "ok" else "SELECT pg_terminate_backend(4711);")


def test_without_hints_the_notify_queue_is_not_looked_at(on_postgresql):
    with closing(Jobs(on_postgresql.url, hints=False)) as jobs:
        assert on_postgresql.found("hints", jobs) == []


def test_a_database_in_memory_is_probed_on_its_one_connection():
    with closing(Jobs("sqlite:///:memory:")) as jobs:
        jobs.migrate()

        assert jobs.connections.rehearse(jobs.store.probe()).result is Result.OK
        assert jobs.enqueue(double.draft(1)).id == 1


HUSHED = {
    "a job is saved": ("jobs", "INSERT", "1 = 1", "to save a job"),
    "a worker is registered": ("workers", "INSERT", "1 = 1", "to register a worker"),
    "a worker beats": ("workers", "UPDATE", "1 = 1", "to let a worker beat"),
    "a worker is forgotten": ("workers", "DELETE", "1 = 1", "to forget a worker"),
    "jobs are claimed": ("jobs", "UPDATE", "NEW.state = 'running'", "to claim jobs"),
    "a job is given back": ("jobs", "UPDATE", "OLD.state = 'running'", "to give a job back"),
    "an attempt is recorded": ("attempts", "INSERT", "1 = 1", "to give a job back"),
    "an end is recorded": ("history", "INSERT", "1 = 1", "to end a job"),
    "a job ends": ("jobs", "DELETE", "1 = 1", "to end a job"),
    "a failure is recorded": ("history", "INSERT", "NEW.state = 'failed'", "to fail a job"),
    "a job is cancelled": ("jobs", "UPDATE", "NOT OLD.cancel_requested AND NEW.cancel_requested", "to cancel a job"),
    "a failed job is tried again": ("jobs", "INSERT", "NEW.attempt > 0", "to try a failed job again"),
    "ended jobs are deleted": ("history", "DELETE", "OLD.state = 'succeeded'", "to delete jobs"),
    "attempts are deleted": ("attempts", "DELETE", "1 = 1", "to delete jobs"),
    "a job becomes ready": ("jobs", "UPDATE", "OLD.state = 'scheduled'", "to make a scheduled job ready"),
    "a queue is paused": ("queues", "INSERT", "1 = 1", "to pause a queue"),
    "a queue is resumed": ("queues", "UPDATE", "NEW.paused_at IS NULL", "to resume a queue"),
}


@pytest.mark.parametrize(("table", "event", "when", "stage"), HUSHED.values(), ids=HUSHED)
def test_a_write_that_is_passed_over_without_an_error_is_found(place, table, event, when, stage):
    hush(place.jobs, table, event, when)

    finding = place.probed()

    assert finding.result is Result.FAIL
    assert f"{stage} is refused: " in finding.text
    assert PASSED_OVER in finding.text
