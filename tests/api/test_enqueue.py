"""`enqueue` and `enqueue_many`: what is saved, where, and in whose transaction."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from select import select
from typing import Any, ClassVar

import aiosqlite
import asyncpg
import psycopg
import pytest

import belayed
from belayed import Delayable, Jobs, State, delay, handle_asynchronously, hints, register, task
from belayed.errors import ConfigError, NotSerializable, OptionError, PayloadTooLarge, StoreError
from tests.patience import patient


@task
def send(number: object) -> object:
    return number


@dataclass
class Newsletter(Delayable):
    issue: object
    queue = "mail"

    def perform(self) -> object:
        return self.issue

    @handle_asynchronously
    def post(self) -> object:
        return self.issue

    def plain(self) -> object:
        return self.issue


class Raised(Exception):
    """To leave a transaction by."""


@pytest.mark.dj(72, 277, 354)
def test_many_jobs_come_back_in_their_order(each_jobs, do, work_off):
    made = do(belayed, "enqueue_many", (send.draft(number) for number in range(30)))

    work_off(each_jobs)

    assert [job.id for job in made] == sorted(job.id for job in made)
    assert [job.refresh().result for job in made] == list(range(30))


@pytest.mark.dj(72, 277)
def test_more_jobs_than_one_statement_takes_come_back_in_their_order(each_jobs, do):
    made = do(belayed, "enqueue_many", [send.using(priority=-number).draft(number) for number in range(2500)])

    found = {job.id: job for job in each_jobs.find(limit=3000)}
    assert [job.priority for job in made] == [-number for number in range(2500)]
    assert [found[job.id].payload for job in made] == [job.payload for job in made]


@pytest.mark.dj(58)
def test_drafts_and_objects_may_be_mixed(each_jobs, do, work_off):
    made = do(belayed, "enqueue_many", [send.draft(1), Newsletter(2), Newsletter(3).post.draft(), send.draft(4)])

    work_off(each_jobs)

    assert [job.refresh().result for job in made] == [1, 2, 3, 4]
    assert [job.queue for job in made] == ["default", "mail", "default", "default"]


def test_options_of_enqueue_many_are_those_of_all(jobs, do):
    made = do(belayed, "enqueue_many", [send.draft(1), Newsletter(2)], queue="bulk", priority=3)

    assert [(job.queue, job.priority) for job in made] == [("bulk", 3), ("bulk", 3)]


@pytest.mark.dj(354)
def test_jobs_saved_together_for_later_are_due_at_that_time_and_not_run_before(each_jobs, do, work_off):
    at = datetime.now(UTC) + timedelta(minutes=5)

    made = do(belayed, "enqueue_many", [send.draft(1), Newsletter(2)], run_at=at)

    work_off(each_jobs)
    assert [(job.refresh().state, job.run_at) for job in made] == [(State.SCHEDULED, at)] * 2


def test_no_jobs_at_all_are_fine(each_jobs, do):
    made = do(belayed, "enqueue_many", [])

    assert made == []


@pytest.mark.dj(70)
@pytest.mark.parametrize("bad", [lambda: send.draft(float("nan")), lambda: 3, lambda: send.draft("x" * 2_000_000)])
def test_with_a_bad_one_none_is_saved(each_jobs, do, bad):
    with pytest.raises((NotSerializable, OptionError, PayloadTooLarge)):
        do(belayed, "enqueue_many", [send.draft(1), bad(), send.draft(2)])

    assert each_jobs.find() == []


@dataclass(frozen=True)
class Parcel:
    """Asks the database while it is written."""

    number: int
    known: ClassVar[Callable[[], int]]


register(Parcel, name="parcel", encode=lambda one: one.number + 0 * Parcel.known(), decode=Parcel)


@pytest.mark.dj(70)
@pytest.mark.parametrize("bad", [float("nan"), "x" * 2_000_000, "\ud800", Parcel(1)])
def test_with_a_bad_one_among_many_none_is_saved_and_the_next_are(each_jobs, do, bad, monkeypatch):
    def broken() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(Parcel, "known", broken, raising=False)
    drafts = [send.draft(nth if nth != 700 else bad) for nth in range(1000)]

    with pytest.raises((NotSerializable, PayloadTooLarge, KeyboardInterrupt)):
        do(belayed, "enqueue_many", drafts)

    assert each_jobs.find() == []
    made = do(belayed, "enqueue_many", [send.draft(nth) for nth in range(1000)])
    assert sorted(job.id for job in each_jobs.find(limit=2000)) == [job.id for job in made]


def test_an_argument_may_ask_the_database_while_many_are_saved(each_jobs, do, work_off, monkeypatch):
    def known() -> int:
        return len(each_jobs.find())

    monkeypatch.setattr(Parcel, "known", known, raising=False)

    made = do(belayed, "enqueue_many", [send.draft(Parcel(nth)) for nth in range(60)])

    work_off(each_jobs)
    assert [job.refresh().state for job in made] == [State.SUCCEEDED] * 60


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        pytest.param([send], "0 default", id="alike"),
        pytest.param([send, send.using(queue="mail")], "look", id="queues"),
        pytest.param([send, send.using(priority=3)], "look", id="priorities"),
        pytest.param([send.using(run_at=timedelta(hours=nth)) for nth in (1, 2)], "@", id="later"),
        pytest.param([send, send.using(run_at=timedelta(hours=1))], "look", id="some later"),
        pytest.param([send.using(queue="mail", priority=-2)], "-2 mail", id="named"),
    ],
)
@pytest.mark.parametrize("number", [6, 600])
def test_the_hint_of_many_says_where_to_look(postgresql_url, make_jobs, do, given, hint, number):
    jobs = make_jobs(postgresql_url)
    listener = jobs.connections.listener(jobs.store.channel, 5)

    do(belayed, "enqueue_many", [given[nth % len(given)].draft(nth) for nth in range(number)])

    assert select([listener], [], [], patient(10))[0]
    assert listener.hints() == [hint]
    listener.close()


class Queues(str, Enum):  # noqa: UP042 (as older programs have it)
    MAIL = "mail"


class Safe(str):
    """As templates mark a text."""

    __slots__ = ()


@pytest.mark.parametrize("number", [1, 6, 600])
@pytest.mark.parametrize(("queue", "name"), [(Queues.MAIL, "mail"), (Safe("a\\nb"), "a\\nb")])
def test_a_queue_may_be_any_kind_of_text(each_jobs, do, queue, name, number):
    drafts = [send.using(queue=queue).draft(1) for _ in range(number)]

    made = [do(belayed, "enqueue", *drafts)] if number == 1 else do(belayed, "enqueue_many", drafts)

    assert {job.queue for job in each_jobs.find(limit=1000)} == {name}
    assert {f"{job.queue}" for job in made} == {name}


@pytest.mark.parametrize("queue", [["mail"], {"mail": 1}, 3])
def test_among_many_a_queue_that_is_none_is_refused(each_jobs, do, queue):
    drafts = [send.draft(nth) for nth in range(100)]
    drafts[50].queue = queue

    with pytest.raises(OptionError, match="a queue's name is a text"):
        do(belayed, "enqueue_many", drafts)

    assert each_jobs.find() == []


@pytest.mark.parametrize(
    ("act", "given"),
    [
        pytest.param("enqueue", send.draft(1), id="one"),
        pytest.param("enqueue", send.using(max_attempts=3).draft(1), id="not plain"),
        pytest.param("enqueue_many", [send.draft(1)] * 60, id="many"),
    ],
)
def test_after_one_that_was_not_saved_workers_are_told_of_the_next_at_once(
    postgres_url, make_jobs, do, monkeypatch, act, given
):
    monkeypatch.setattr(hints, "DEBOUNCE", 60)
    jobs = make_jobs(postgres_url)
    jobs.migrate()
    listener = jobs.connections.listener(jobs.store.channel, 5)
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute("ALTER TABLE belayed_jobs ADD CONSTRAINT refused CHECK (priority <> 0)")
        with pytest.raises(StoreError, match="refused"):
            do(belayed, act, given)
        raw.execute("ALTER TABLE belayed_jobs DROP CONSTRAINT refused")

    do(belayed, act, given)

    assert select([listener], [], [], patient(10))[0]
    assert listener.hints() == ["0 default"]
    listener.close()


def test_a_draft_enqueued_twice_is_two_jobs(jobs, work_off):
    draft = send.draft(1)

    first, second = belayed.enqueue(draft), belayed.enqueue(draft)

    work_off(jobs)
    assert first.id != second.id
    assert first.refresh().result == second.refresh().result == 1


@pytest.mark.dj(58)
def test_options_are_given_by_their_names_alone(jobs):
    with pytest.raises(TypeError, match="takes one job or object, and options by name"):
        belayed.enqueue(Newsletter(1), 5)
    with pytest.raises(TypeError, match="takes one job or object, and options by name"):
        delay(Newsletter(1), 5)

    assert jobs.find() == []


@pytest.mark.dj(59)
def test_the_options_given_stay_as_they_are(jobs):
    options = {"queue": lambda: "mail", "priority": 3}
    before = dict(options)

    belayed.enqueue(Newsletter(1), **options)
    delay(Newsletter(1), **options).plain()

    assert options == before


def savers() -> list[Any]:
    """Each way to enqueue, given a connection."""
    return [
        pytest.param(lambda raw: send.using(connection=raw).enqueue(1), id="using"),
        pytest.param(lambda raw: belayed.enqueue(Newsletter(1), connection=raw), id="enqueue"),
        pytest.param(lambda raw: belayed.enqueue_many([send.draft(1)], connection=raw)[0], id="enqueue_many"),
        pytest.param(lambda raw: delay(Newsletter(1), connection=raw).plain(), id="delay"),
        pytest.param(lambda raw: Newsletter(1).delay(connection=raw).plain(), id="Delayable"),
    ]


def connected(url: str) -> Any:
    """A connection of the application's to the database at *url*."""
    if url.startswith("sqlite"):
        return sqlite3.connect(url.removeprefix("sqlite:///"))
    return psycopg.connect(url)


@pytest.mark.dj(71, 278, 356)
@pytest.mark.parametrize("save", savers())
@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_job_joins_the_transaction_of_the_connection_given(each_jobs, url, save, ending):
    raw = connected(url)
    raw.execute("CREATE TEMPORARY TABLE mine (x INTEGER)")

    job = save(raw)

    unseen = each_jobs.find()
    getattr(raw, ending)()
    raw.close()
    assert unseen == []
    assert each_jobs.find() == ([job] if ending == "commit" else [])


@pytest.mark.dj(71)
@pytest.mark.parametrize("ending", ["commit", "rollback"])
@pytest.mark.parametrize("driver", ["aiosqlite", "psycopg", "asyncpg"])
async def test_a_job_joins_the_transaction_of_an_async_connection(request, make_jobs, driver, ending):
    jobs = make_jobs(request.getfixturevalue("sqlite_url" if driver == "aiosqlite" else "postgresql_url"))
    save: Callable[[Any], Any] = lambda raw: send.using(connection=raw).aenqueue(1)  # noqa: E731

    if driver == "asyncpg":
        raw: Any = await asyncpg.connect(jobs.url)
        transaction = raw.transaction()
        await transaction.start()
        await save(raw)
        await getattr(transaction, ending)()
        await raw.close()
    else:
        connecting = (
            aiosqlite.connect(jobs.address.target)
            if driver == "aiosqlite"
            else psycopg.AsyncConnection.connect(jobs.url)
        )
        raw = await connecting
        await save(raw)
        await getattr(raw, ending)()
        await raw.close()

    found = await jobs.afind()
    await jobs.aclose()
    assert len(found) == (1 if ending == "commit" else 0)


async def test_an_async_call_takes_a_sync_connection_too(each_jobs, url):
    raw = connected(url)

    job = await send.using(connection=raw).aenqueue(1)

    unseen = await each_jobs.afind()
    raw.commit()
    raw.close()
    found = await each_jobs.afind()
    await each_jobs.aclose()
    assert (unseen, found) == ([], [job])


async def test_a_sync_call_with_an_async_connection_is_refused_with_the_fix(jobs):
    async with aiosqlite.connect(":memory:") as raw:
        with pytest.raises(
            ConfigError, match=r"connection=<.*> is async: await the twin of this call, such as aenqueue"
        ):
            send.using(connection=raw).enqueue(1)


def test_a_connection_to_another_kind_of_database_is_refused(make_jobs, postgresql_url):
    jobs = make_jobs(postgresql_url)
    raw = sqlite3.connect(":memory:")

    with pytest.raises(
        ConfigError, match=r"is of sqlite, but the jobs are kept in <Jobs in postgresql:.*>: a job can join"
    ):
        jobs.enqueue(send.draft(1), connection=raw)

    raw.close()


@pytest.mark.parametrize("connection", [3, "postgresql://", object()])
def test_what_is_no_connection_is_refused(jobs, do, connection):
    with pytest.raises(ConfigError, match="it takes a connection of sqlite3, aiosqlite, psycopg or asyncpg, not"):
        do(belayed, "enqueue", send.draft(1), connection=connection)


def test_drafts_of_several_connections_are_refused(jobs, do):
    one, two = sqlite3.connect(":memory:"), sqlite3.connect(":memory:")
    drafts = [send.using(connection=connection).draft(1) for connection in (one, two)]

    with pytest.raises(OptionError, match="all drafts must name the same connection"):
        do(belayed, "enqueue_many", drafts)

    one.close()
    two.close()


@pytest.fixture
def others(tmp_path):
    """Another `Jobs` than the program's."""
    jobs = Jobs(f"sqlite:///{tmp_path / 'others.db'}")
    yield jobs
    jobs.close()


@pytest.mark.dj(88)
@pytest.mark.parametrize(
    "save",
    [
        lambda others: send.using(jobs=others).enqueue(1),
        lambda others: belayed.enqueue(send.using(jobs=others).draft(1)),
        lambda others: belayed.enqueue(send.draft(1), jobs=others),
        lambda others: belayed.enqueue(Newsletter(1), jobs=others),
        lambda others: belayed.enqueue_many([send.draft(1)], jobs=others)[0],
        lambda others: belayed.enqueue_many([send.using(jobs=others).draft(1)])[0],
        lambda others: delay(Newsletter(1), jobs=others).plain(),
        lambda others: delay(Newsletter(1), jobs=others).post(),
        lambda others: others.enqueue(Newsletter(1)),
        lambda others: asyncio.run(belayed.aenqueue(send.using(jobs=others).draft(1))),
        lambda others: asyncio.run(send.using(jobs=others).aenqueue(1)),
        lambda others: asyncio.run(belayed.aenqueue_many([send.using(jobs=others).draft(1)]))[0],
    ],
    ids=[
        "using", "draft", "enqueue", "object", "enqueue_many", "drafts", "delay", "decorated", "method",
        "aenqueue", "using aenqueue", "aenqueue_many",
    ],
)  # fmt: skip
def test_a_program_with_several_stores_says_which(jobs, others, work_off, save):
    job = save(others)

    work_off(others)

    assert job.jobs is others
    assert others.find() == [job]
    assert job.refresh().result == 1
    assert jobs.find() == []


def test_a_draft_for_one_jobs_is_refused_by_another(jobs, others, do):
    draft = send.using(jobs=others).draft(1)

    with pytest.raises(
        OptionError, match=r"is for <Jobs in sqlite:.*others\.db>, not for <Jobs in sqlite:.*belayed\.db>"
    ):
        do(jobs, "enqueue", draft)
    with pytest.raises(OptionError, match=r"is for <Jobs in sqlite:.*others\.db>, not for"):
        do(jobs, "enqueue_many", [draft])
    with pytest.raises(OptionError, match=r"is for <Jobs in sqlite:.*others\.db>, not for"):
        do(jobs, "enqueue", Newsletter(1), jobs=others)


def test_the_jobs_named_last_count(jobs, others):
    job = belayed.enqueue(send.using(jobs=others).draft(1), jobs=jobs)

    assert job.jobs is jobs


def test_enqueue_many_refuses_drafts_of_several_jobs(jobs, others):
    drafts = [send.draft(1), send.using(jobs=others).draft(2)]

    with pytest.raises(OptionError, match="all drafts must be for the same Jobs: say which by jobs=…"):
        belayed.enqueue_many(drafts)
    with pytest.raises(OptionError, match="is for <Jobs in"):
        jobs.enqueue_many(drafts)

    assert jobs.find() == others.find() == []


def test_jobs_of_several_stores_with_the_same_id_are_not_equal(jobs, others):
    mine, theirs = send.enqueue(1), others.enqueue(send.draft(1))

    assert mine.id == theirs.id
    assert mine != theirs
    assert mine == jobs.get(mine.id)
    assert others.get(theirs.id).state is State.READY
