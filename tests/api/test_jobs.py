"""`Jobs`: which store a program uses, and what is asked of many jobs at once."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import belayed
from belayed import Jobs, State, task
from belayed.config import current
from belayed.errors import ConfigError, JobNotFound, OptionError, SchemaMissing, SchemaNewer, StoreUnavailable
from tests.api.test_enqueue import connected

SOURCE = Path(belayed.__file__).parents[1]


@task
def work(number: int) -> int:
    return number


@task(max_attempts=1)
def fail() -> None:
    raise ValueError("no")


@pytest.fixture
def fresh(monkeypatch):
    """A program that has not configured anything yet."""
    monkeypatch.setattr(current, "jobs", None)
    yield
    if current.jobs is not None:
        current.jobs.close()


# Where jobs are kept.


@pytest.mark.dj(88)
def test_configure_sets_the_programs_jobs(fresh, tmp_path):
    jobs = belayed.configure(f"sqlite:///{tmp_path}/configured.db")

    assert isinstance(jobs, Jobs)
    assert work.enqueue(1).jobs is jobs
    assert (tmp_path / "configured.db").exists()


def test_nothing_is_opened_before_it_is_needed(fresh, tmp_path):
    belayed.configure(f"sqlite:///{tmp_path}/configured.db")

    assert not (tmp_path / "configured.db").exists()


@pytest.mark.parametrize("variable", ["BELAYED_URL", "DATABASE_URL"])
def test_the_environment_says_where_jobs_are_kept(fresh, monkeypatch, tmp_path, variable):
    monkeypatch.setenv(variable, f"sqlite:///{tmp_path}/from_environment.db")

    job = work.enqueue(1)

    assert (tmp_path / "from_environment.db").exists()
    assert repr(job.jobs) == f"<Jobs in sqlite:///{tmp_path}/from_environment.db>"


def test_belayed_url_counts_for_more_than_database_url(fresh, monkeypatch, tmp_path):
    monkeypatch.setenv("BELAYED_URL", f"sqlite:///{tmp_path}/ours.db")
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/theirs.db")

    work.enqueue(1)

    assert [path.name for path in tmp_path.glob("*.db")] == ["ours.db"]


@pytest.mark.dj(316)
def test_by_default_jobs_are_kept_beside_the_nearest_pyproject(fresh, monkeypatch, tmp_path):
    (tmp_path / "pyproject.toml").touch()
    below = tmp_path / "src" / "app"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)

    work.enqueue(1)

    assert (tmp_path / "belayed.db").exists()


@pytest.mark.dj(60, 63, 120, 129)
def test_settings_come_from_the_environment(fresh, monkeypatch, tmp_path):
    monkeypatch.setenv("BELAYED_URL", f"sqlite:///{tmp_path}/jobs.db")
    monkeypatch.setenv("BELAYED_DEFAULT_QUEUE", "of_environment")
    monkeypatch.setenv("BELAYED_DEFAULT_PRIORITY", "7")
    monkeypatch.setenv("BELAYED_KEEP_FAILED", "12h")

    job = work.enqueue(1)

    assert (job.queue, job.priority) == ("of_environment", 7)
    assert job.jobs.config.keep_failed == timedelta(hours=12)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("mysql://root:secret@host/app", "'mysql://…': unknown scheme 'mysql'; use sqlite or postgresql"),
        ("jobs.db", "'…': not a URL; write sqlite:///jobs.db or postgresql://host/name"),
        ("sqlite://jobs.db", "write sqlite:///relative/file.db or sqlite:////absolute/file.db"),
    ],
)
def test_a_wrong_url_is_refused_with_the_fix(url, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Jobs(url)


@pytest.mark.dj(135)
@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"quue": "x"}, "unknown setting 'quue': there are default_priority, default_queue"),
        ({"max_attempts": "5"}, "max_attempts is '5': it takes a int"),
        ({"trust": ["not a name"]}, "trust 'not a name' is not the name of a package"),
        ({"keep_failed": 3}, "keep_failed is 3: it takes a timedelta or bool"),
        ({"default_queue": "*"}, r"default_queue='\*': a queue's name"),
        ({"default_priority": 2**40}, "default_priority=1099511627776: it takes"),
    ],
)
def test_a_wrong_setting_is_refused(settings, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Jobs("sqlite:///jobs.db", **settings)


@pytest.mark.dj(133, 134)
def test_settings_are_those_of_one_jobs_and_do_not_change():
    told, other = Jobs("sqlite:///jobs.db", max_attempts=3), Jobs("sqlite:///jobs.db")

    with pytest.raises(FrozenInstanceError):
        told.config.max_attempts = 4

    assert (told.config.max_attempts, other.config.max_attempts) == (3, 25)


def test_a_password_is_never_shown():
    jobs = Jobs("postgresql://user:secret@localhost/app")

    assert repr(jobs) == "<Jobs in postgresql://user:***@localhost/app>"


@pytest.mark.dj(70)
def test_a_database_that_cannot_be_reached_is_unavailable(make_jobs, do):
    jobs = make_jobs("postgresql://user:secret@127.0.0.1:1/app")

    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1.*[Cc]onnection refused|[Cc]onnection refused") as caught:
        do(work, "enqueue", 1)

    assert "secret" not in str(caught.value)
    assert caught.value.uncertain is False
    assert jobs.address.dialect == "postgresql"


def test_a_folder_that_is_not_there_is_named(make_jobs, do, tmp_path):
    make_jobs(f"sqlite:///{tmp_path}/missing/jobs.db")

    with pytest.raises(StoreUnavailable, match=f"there is no folder {tmp_path}/missing"):
        do(work, "enqueue", 1)


def test_a_file_that_is_no_database_is_named(make_jobs, do, tmp_path):
    (tmp_path / "jobs.db").write_text("no database, but a text " * 100)
    make_jobs(f"sqlite:///{tmp_path}/jobs.db")

    with pytest.raises(StoreUnavailable, match=r"cannot open .*jobs\.db as a SQLite database: file is not a database"):
        do(work, "enqueue", 1)


@pytest.mark.parametrize("act", ["enqueue", "find", "counts", "cancel", "enqueue_many"])
def test_on_postgresql_missing_tables_are_an_error_that_says_migrate(make_jobs, postgres_url, do, act):
    jobs = make_jobs(postgres_url)
    calls: dict[str, tuple[Any, ...]] = {
        "enqueue": (work.draft(1),), "find": (), "counts": (), "cancel": (1,), "enqueue_many": ([work.draft(1)],)
    }  # fmt: skip

    with pytest.raises(SchemaMissing, match="Belayed's tables are not in this database: run `belayed migrate`"):
        do(jobs, act, *calls[act])


@pytest.mark.dj(96)
@pytest.mark.parametrize("act", ["enqueue", "find", "counts", "cancel", "enqueue_many"])
def test_on_sqlite_the_tables_are_made_when_they_are_missing(make_jobs, tmp_path, do, act):
    jobs = make_jobs(f"sqlite:///{tmp_path}/jobs.db")
    calls: dict[str, tuple[Any, ...]] = {
        "enqueue": (work.draft(1),), "find": (), "counts": (), "cancel": (1,), "enqueue_many": ([work.draft(1)],)
    }  # fmt: skip

    do(jobs, act, *calls[act])

    assert jobs.check_schema() == 1


@pytest.mark.dj(96)
def test_migrate_makes_the_tables(make_jobs, postgres_url, do):
    jobs = make_jobs(postgres_url)

    applied = [do(jobs, "migrate"), do(jobs, "migrate")]

    assert applied == [[1], []]
    assert work.enqueue(1).state is State.READY


def test_tables_of_a_newer_version_are_left_alone(make_jobs, url, work_off):
    jobs = make_jobs(url)
    raw = connected(url)
    raw.execute("INSERT INTO belayed_versions (version) VALUES (99)")
    raw.commit()
    try:
        with pytest.raises(SchemaNewer, match=r"99.*[Uu]pgrade"):
            jobs.check_schema()
        with pytest.raises(SchemaNewer, match="99"):
            work_off(jobs)
        with pytest.raises(SchemaNewer, match="99"):
            jobs.migrate()
    finally:
        raw.execute("DELETE FROM belayed_versions WHERE version = 99")
        raw.commit()
        raw.close()


@pytest.mark.dj(95, 352)
def test_the_tables_may_have_another_prefix_and_schema(make_jobs, postgres_url, work_off):
    with connected(postgres_url) as raw:
        raw.execute("CREATE SCHEMA queue")
    jobs = make_jobs(postgres_url, schema="queue", prefix="app_")
    jobs.migrate()
    job = work.enqueue(3)

    work_off(jobs)

    assert job.refresh().result == 3


@pytest.mark.dj(95)
def test_two_prefixes_are_two_stores_in_one_database(tmp_path, make_jobs):
    one = make_jobs(f"sqlite:///{tmp_path}/jobs.db", prefix="one_")
    two = make_jobs(f"sqlite:///{tmp_path}/jobs.db", prefix="two_")

    job = one.enqueue(work.draft(1))

    assert (one.find(), two.find()) == ([job], [])


# Finding and changing many.


@pytest.fixture
def seven(each_jobs, work_off):
    """Jobs 1 to 7: two failed, one cancelled, and four that wait in two queues, one of them scheduled."""
    fail.enqueue()
    fail.using(queue="mail").enqueue()
    work_off(each_jobs)
    work.enqueue(3).cancel()
    for options in ({}, {"queue": "mail"}, {"queue": "mail"}, {"run_at": timedelta(hours=1)}):
        work.using(**options).enqueue(4)
    return each_jobs


def ids(jobs: Any) -> list[int]:
    return sorted(job.id for job in jobs)


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7]),
        ({"states": [State.FAILED]}, [1, 2]),
        ({"states": ["failed", "cancelled"]}, [1, 2, 3]),
        ({"queues": ["mail"]}, [2, 5, 6]),
        ({"queues": ["mail"], "states": [State.READY]}, [5, 6]),
        ({"tasks": [f"{__name__}.fail"]}, [1, 2]),
        ({"ids": [1, 7, 99]}, [1, 7]),
        ({"ids": []}, []),
        ({"queues": ["none"]}, []),
        ({"created_after": datetime(2020, 1, 1, tzinfo=UTC)}, [1, 2, 3, 4, 5, 6, 7]),
        ({"created_before": datetime(2020, 1, 1, tzinfo=UTC)}, []),
        ({"limit": 2}, [6, 7]),
        ({"limit": 2, "before": 6}, [4, 5]),
    ],
    ids=str,
)
def test_find_gives_the_jobs_that_meet_all_conditions(seven, do, filter, found):
    jobs = do(seven, "find", **filter)

    assert ids(jobs) == found
    assert [job.id for job in jobs] == found[::-1]


@pytest.mark.parametrize(
    ("act", "given", "filter", "changed"),
    [
        ("cancel", [4, 5, 99], {}, [4, 5]),
        ("cancel", [1, 3], {}, []),
        ("cancel", [], {"queues": ["mail"]}, [5, 6]),
        ("cancel", [], {"created_after": datetime(2020, 1, 1, tzinfo=UTC)}, [4, 5, 6, 7]),
        ("retry", [1, 3, 4], {}, [1, 3]),
        ("retry", [7], {}, [7]),
        ("retry", [], {"queues": ["mail"]}, [2]),
        ("retry", [], {"states": [State.CANCELLED]}, [3]),
        ("delete", [1, 4], {}, [1, 4]),
        ("delete", [], {"states": [State.FAILED]}, [1, 2]),
        ("delete", [], {"queues": ["mail"]}, [2, 5, 6]),
    ],
    ids=str,
)
def test_many_jobs_are_changed_by_their_ids_or_by_a_filter(seven, do, act, given, filter, changed):
    states = {"cancel": State.CANCELLED, "retry": State.READY}
    before = {job.id: job.state for job in seven.find()}

    count = do(seven, act, *given, **filter)

    after = {job.id: job.state for job in seven.find()}
    assert count == len(changed)
    assert [id for id in before if before[id] is not after.get(id)] == sorted(changed, reverse=True)
    assert all(after.get(id) is states.get(act) for id in changed)


def test_many_jobs_are_moved_by_their_ids_or_by_a_filter(seven, do):
    counts = [do(seven, "change", 1, 4, queue="moved"), do(seven, "change", queues=["mail"], queue="moved", priority=3)]

    assert counts == [1, 2]
    assert ids(seven.find(queues=["moved"])) == [4, 5, 6]
    assert seven.get(5).priority == 3


@pytest.mark.parametrize("act", ["cancel", "retry", "delete", "change"])
@pytest.mark.parametrize(
    ("given", "filter", "complaint"),
    [
        ([], {}, "which jobs\\? Give ids, or a filter such as states="),
        ([1], {"queues": ["mail"]}, "which jobs\\? Give ids, or a filter"),
        ([], {"quues": ["mail"]}, "unknown condition 'quues': there are ids, states, queues, tasks"),
        ([], {"state": [State.FAILED]}, "unknown condition 'state'"),
        ([], {"queues": "mail"}, r"queues='mail': it takes a list, such as queues=\[…\]"),
        ([], {"queues": None}, "queues=None: it takes a list"),
        ([], {"created_before": None}, "created_before=None: it takes an aware datetime"),
        ([], {"created_before": datetime(2030, 1, 1)}, "created_before=.*: it takes an aware datetime"),  # noqa: DTZ001
    ],
    ids=str,
)
def test_a_filter_that_says_nothing_changes_nothing(seven, do, act, given, filter, complaint):
    before = [(job.id, job.state) for job in seven.find()]

    with pytest.raises(OptionError, match=complaint):
        do(seven, act, *given, **filter)

    assert [(job.id, job.state) for job in seven.find()] == before


def test_find_refuses_an_unknown_condition_too(jobs, do):
    with pytest.raises(OptionError, match="unknown condition 'queue': there are ids"):
        do(jobs, "find", queue="mail")


def test_more_jobs_than_one_transaction_changes_are_changed(each_jobs, do):
    made = belayed.enqueue_many(work.draft(number) for number in range(2100))

    counts = [
        do(each_jobs, "change", *(job.id for job in made), queue="moved"),
        do(each_jobs, "cancel", queues=["moved"]),
        do(each_jobs, "delete", states=[State.CANCELLED]),
    ]

    assert counts == [2100, 2100, 2100]
    assert each_jobs.find() == []


@pytest.mark.parametrize("id", [99, 0, -1, 2**63, -(2**70)])
def test_a_job_that_is_not_there_is_not_found(each_jobs, do, id):
    with pytest.raises(JobNotFound, match=f"there is no job {id}"):
        do(each_jobs, "get", id)


def test_a_paused_queue_is_left_alone_until_it_is_resumed(each_jobs, do, work_off):
    job, other = work.enqueue(1), work.using(queue="other").enqueue(2)
    do(each_jobs, "pause", "default")
    paused = do(each_jobs, "paused")
    work_off(each_jobs)
    meanwhile = (job.refresh().state, other.refresh().state)

    do(each_jobs, "resume", "default")
    work_off(each_jobs)

    assert (paused, do(each_jobs, "paused")) == (["default"], [])
    assert meanwhile == (State.READY, State.SUCCEEDED)
    assert job.refresh().state is State.SUCCEEDED


def test_counts_tell_of_queues_and_states(seven, do):
    counts = do(seven, "counts")

    live = {(one.queue, one.state): one.jobs for one in counts.live}
    assert live == {("default", State.READY): 1, ("mail", State.READY): 2, ("default", State.SCHEDULED): 1}
    assert {state: number for state, number in counts.ended.items() if number} == {State.FAILED: 2, State.CANCELLED: 1}


@pytest.mark.dj(240)
def test_importing_belayed_imports_no_driver():
    program = (
        "import sys, belayed; print(sorted({'psycopg', 'asyncpg', 'aiosqlite', 'click', 'rich'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(SOURCE)}, capture_output=True, text=True, check=True
    )

    assert done.stdout.strip() == "[]"
