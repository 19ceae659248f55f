"""The checks of `doctor`, each where all is well and where it is not; and the command that shows them."""

from __future__ import annotations

import contextlib
import re
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import psycopg
import pytest

from belayed.cli import checks, vanished
from belayed.cli.app import Place
from belayed.cli.queues import Queue
from belayed.errors import IdsExhausted, StoreError
from belayed.job import State
from belayed.jobs import Jobs
from belayed.store import schema
from belayed.store.answers import Checked, Ids, Sessions, WorkerRow
from belayed.store.findings import Result

NOW = datetime(2030, 6, 1, 12, 0, tzinfo=UTC)
GOOD = {"sqlite": Checked("3.53.0", "UTF-8", "wal"), "postgresql": Checked("18.1 (Debian)", "UTF8", None)}


def worker(queues='["*"]', *, alive=True, running=0):
    beat_at = NOW - timedelta(seconds=2 if alive else 300)
    return WorkerRow("w1", "one", "box", 7, queues, "0.1.0", NOW, beat_at, alive, running)


def results(findings):
    return [(finding.check, finding.result.value) for finding in findings]


@pytest.fixture
def jobs(each_url):
    jobs = Jobs(each_url)
    yield jobs
    jobs.close()


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_a_database_that_is_set_up_well_has_nothing_to_say(dialect):
    assert checks.setup(dialect, GOOD[dialect]) == []


def test_a_database_of_a_good_version_is_ok(jobs):
    found = checks.database(jobs, GOOD[jobs.store.dialect])

    assert found.result is Result.OK


def test_a_database_that_is_too_old_fails(jobs):
    found = checks.database(jobs, Checked({"sqlite": "3.34.1", "postgresql": "11.22"}[jobs.store.dialect], "", None))

    assert found.result is Result.FAIL
    assert "or later" in found.fix


def test_each_database_says_its_version_encoding_and_journal_mode(jobs, store):
    checked = checks.reached(jobs)

    assert checks.number_of(checked.version) >= checks.OLDEST[jobs.store.dialect]
    assert checked[1:] == {"sqlite": ("UTF-8", "wal"), "postgresql": ("UTF8", None)}[jobs.store.dialect]


@pytest.mark.parametrize(
    ("version", "has"),
    [
        ("3.37.2", True),
        ("3.44.5", True),
        ("3.44.6", False),
        ("3.45.0", True),
        ("3.50.6", True),
        ("3.50.7", False),
        ("3.51.2", True),
        ("3.51.3", False),
        ("3.52.0", False),
        ("4.0", False),
    ],
)
def test_the_wal_reset_bug_is_known_by_the_version(version, has):
    found = checks.setup("sqlite", Checked(version, "UTF-8", "wal"))

    assert results(found) == ([("database", "warn")] if has else [])


def test_a_journal_mode_other_than_wal_is_a_warning():
    (found,) = checks.setup("sqlite", Checked("3.53.0", "UTF-8", "delete"))

    assert found.result is Result.WARN
    assert "the journal mode is delete" in found.text


def test_an_encoding_other_than_utf8_fails():
    (found,) = checks.setup("postgresql", Checked("16.1", "LATIN1", None))

    assert found.result is Result.FAIL
    assert "its encoding is LATIN1" in found.text


def test_versions_are_read_with_what_distributions_add():
    assert checks.number_of("16.4 (Debian 16.4-1.pgdg120+1)") == (16, 4)
    assert checks.number_of("18beta1") == (18,)
    assert checks.number_of("unknown") == ()


@pytest.mark.parametrize(
    ("seconds", "result", "side"), [(4, "ok", ""), (-4, "ok", ""), (90, "warn", "behind"), (-90, "warn", "ahead of")]
)
def test_a_clock_that_is_off_is_a_warning(seconds, result, side):
    found = checks.clock(timedelta(seconds=seconds))

    assert found.result.value == result
    assert side in found.text


LAST = 2**63 - 1
TABLES = {
    "jobs": "INSERT INTO {jobs} (id, state, queue, priority, run_at, task, payload, created_at) "
    "VALUES (%s, 'ready', 'q', 0, %s, 't', '[]', %s)",
    "attempts": "INSERT INTO {attempts} (id, job_id, ended_at, number, outcome) VALUES (%s, 1, %s, 1, 'lost')",
}


def written(store, table, id):
    """Write a row by hand, as somebody may who can reach the tables."""
    time = "0" if store.dialect == "sqlite" else "'2020-01-01'"
    text = TABLES[table] % ((id, time, time) if table == "jobs" else (id, time))
    store.rows(f"{text} RETURNING id")


def numbers(jobs):
    return checks.ids(jobs.connections.perform(jobs.store.ids()))


def mended(jobs, store, finding):
    """Do what a finding says; what is found then."""
    command, _, text = finding.fix.partition("in SQL: ")
    if command:
        jobs.delete(int(command.split()[2].rstrip(",")))
    store.rows(text if text.startswith("SELECT") else f"{text} RETURNING 1")
    return numbers(jobs)


def test_tables_that_have_ids_left_are_ok(jobs, store):
    assert results(numbers(jobs)) == [("ids", "ok")]
    store.ended(State.FAILED)
    store.added(number=3)

    assert results(numbers(jobs)) == [("ids", "ok")]


def test_a_row_with_the_last_id_is_found_and_mended(jobs, store, run):
    """On SQLite nobody can enqueue then; PostgreSQL's sequence does not mind."""
    store.added(number=3)
    written(store, "jobs", LAST)

    found = numbers(jobs)

    if jobs.store.dialect == "postgresql":
        assert results(found) == [("ids", "ok")]
        return
    assert [(one.result, one.text) for one in found] == [(Result.FAIL, "no id is left for new rows of belayed_jobs")]
    sql = "UPDATE sqlite_sequence SET seq = 3 WHERE name = 'belayed_jobs'"
    assert found[0].fix == f"belayed delete {LAST}, then in SQL: {sql}"
    assert found[0].fix.removeprefix("belayed ") in run("doctor").stdout
    assert results(mended(jobs, store, found[0])) == [("ids", "ok")]
    assert store.added() == [4]


def test_a_counter_at_its_end_is_found_and_mended(jobs, store):
    store.added(number=3)
    if store.dialect == "sqlite":
        store.rows(f"UPDATE sqlite_sequence SET seq = {LAST} WHERE name = 'belayed_jobs' RETURNING 1")
    else:
        store.rows(f"SELECT setval(pg_get_serial_sequence('belayed_jobs', 'id'), {LAST})")

    (found,) = numbers(jobs)

    assert (found.result, found.text) == (Result.FAIL, "no id is left for new rows of belayed_jobs")
    with pytest.raises(IdsExhausted):
        store.added()
    assert results(mended(jobs, store, found)) == [("ids", "ok")]
    assert store.added() == [4]


def test_ids_that_are_nearly_used_up_are_a_warning(jobs, store):
    ids = Ids("belayed_jobs", LAST - 1, LAST, 1, 5, None, "…")

    (found,) = checks.ids([ids])

    assert (found.result, found.text) == (Result.WARN, "only 1 id is left for new rows of belayed_jobs")


def test_rows_of_attempts_with_the_last_id_are_found_and_mended(jobs, store):
    store.added()
    written(store, "attempts", 7)
    if jobs.store.dialect == "sqlite":
        written(store, "attempts", LAST)
    else:
        store.rows(f"SELECT setval(pg_get_serial_sequence('belayed_attempts', 'id'), {LAST})")

    (found,) = numbers(jobs)

    assert (found.result, found.text) == (Result.FAIL, "no id is left for new rows of belayed_attempts")
    assert results(mended(jobs, store, found)) == [("ids", "ok")]


@pytest.mark.parametrize("table", ["jobs", "attempts"])
def test_a_counter_behind_its_rows_as_after_a_restore_is_found_and_mended(jobs, store, table):
    """SQLite counts from the rows."""
    store.added(number=3)
    written(store, table, 900)

    found = numbers(jobs)

    if jobs.store.dialect == "sqlite":
        assert results(found) == [("ids", "ok")]
        return
    next = 4 if table == "jobs" else 1
    text = f"the next id of belayed_{table} is {next}, but it has rows up to 900: ids are given twice"
    assert [(one.result, one.text) for one in found] == [(Result.FAIL, text)]
    assert results(mended(jobs, store, found[0])) == [("ids", "ok")]
    assert table == "attempts" or store.added() == [901]


def test_a_history_ahead_of_the_counter_counts_too(jobs, store):
    store.ended(State.FAILED)
    if jobs.store.dialect == "postgresql":
        store.rows("SELECT setval(pg_get_serial_sequence('belayed_jobs', 'id'), 1, false)")

        (found,) = numbers(jobs)

        assert "the next id of belayed_jobs is 1, but it has rows up to 1" in found.text
        assert results(mended(jobs, store, found)) == [("ids", "ok")]
    assert store.added() == [2]


def test_an_enqueue_that_collides_says_why(jobs, store):
    if jobs.store.dialect == "sqlite":
        pytest.skip("SQLite counts from the rows")
    written(store, "jobs", 1)

    with pytest.raises(StoreError, match=r"may give ids that its rows have already.*belayed doctor"):
        store.added()


@pytest.mark.parametrize("id", [0, -5])
def test_ids_below_1_are_a_warning(jobs, store, run, id):
    """SQLite's tables take none."""
    if jobs.store.dialect == "sqlite":
        with pytest.raises(StoreError, match="CHECK constraint failed"):
            written(store, "jobs", id)
        return
    written(store, "jobs", id)

    (found,) = numbers(jobs)

    assert found.text == f"belayed_jobs has a row with the id {id}: changes of many jobs pass over it"
    assert run(*found.fix.split()[1:]).exit_code == 0
    assert results(numbers(jobs)) == [("ids", "ok")]


def test_a_living_worker_is_ok():
    assert results(checks.workers([worker()], NOW)) == [("workers", "ok")]


def test_no_worker_is_a_warning():
    (found,) = checks.workers([], NOW)

    assert (found.result, found.fix) == (Result.WARN, "belayed work")


def test_a_worker_that_has_stopped_beating_is_a_warning():
    none, lapsed = checks.workers([worker(alive=False, running=3)], NOW)

    assert none.text == "none is alive"
    assert lapsed.text == "one has stopped beating, for 5 min; it holds 3 jobs"


@pytest.mark.parametrize(
    ("queue", "serving", "result"),
    [
        (Queue("mail", ready=3, oldest=NOW - timedelta(minutes=5)), '["*"]', "ok"),
        (Queue("mail", ready=3, oldest=NOW - timedelta(minutes=5)), '["mail", "slow"]', "ok"),
        (Queue("mail", ready=3, oldest=NOW - timedelta(minutes=5)), '["slow"]', "fail"),
        (Queue("mail", ready=3, oldest=NOW - timedelta(minutes=5)), '["*", "!mail"]', "fail"),
        (Queue("mail", ready=3, oldest=NOW - timedelta(minutes=5), paused=True), '["*"]', "warn"),
        (Queue("mail", scheduled=3, next_due=NOW + timedelta(minutes=5)), '["slow"]', "ok"),
    ],
)
def test_a_queue_in_which_jobs_wait_must_be_served(queue, serving, result):
    assert results(checks.waiting([queue], [worker(serving)], NOW)) == [("queues", result)]


def test_a_dead_worker_serves_nothing():
    queue = Queue("mail", ready=3, oldest=NOW - timedelta(minutes=5))

    (found,) = checks.waiting([queue], [worker(alive=False)], NOW)

    assert found.text == "jobs wait in mail for 5 min: no living worker serves it"
    assert found.fix == "belayed work -q mail"


def test_tables_that_are_missing_fail_and_are_not_made(jobs, each_url):
    if jobs.store.dialect == "sqlite":
        jobs.connections.perform(jobs.store.now())

    *_, found = checks.all_findings(Place(url=each_url))

    assert (found.check, found.result, found.fix) == ("tables", Result.FAIL, "belayed migrate")
    assert "tables" in dict(results(checks.all_findings(Place(url=each_url))))


def test_tables_of_a_newer_version_fail(store, each_url):
    store.rows(f"INSERT INTO {{versions}} (version) VALUES ({schema.latest(store.dialect) + 1}) RETURNING version")

    *_, found = checks.all_findings(Place(url=each_url))

    assert (found.check, found.result, found.fix) == ("tables", Result.FAIL, "pip install -U belayed")


@pytest.mark.dj(334)
def test_the_doctor_finds_nothing_that_fails_in_a_store_that_is_well(run, told, store, each_url):
    result = run("doctor")
    answer = told("doctor")

    assert result.exit_code == 0, result.stdout
    assert [check["result"] for check in answer["checks"] if check["result"] == "fail"] == []
    assert answer["ok"] is True
    assert list(answer["checks"][0]) == ["check", "result", "text", "fix"]
    of_servers = {"rights", "row security", "copies", "hints"} if store.dialect == "postgresql" else set()
    assert {check["check"] for check in answer["checks"]} - {"sessions"} == of_servers | {
        *("database", "tables", "ids", "relations", "writes", "clock", "workers", "queues", "code")
    }


def test_the_doctor_says_what_the_store_finds_of_itself(run, store):
    store.rows("CREATE TRIGGER no BEFORE INSERT ON {jobs} BEGIN SELECT RAISE(ABORT, 'not today'); END")

    result = run("doctor")

    assert result.exit_code == 1
    assert "fail   writes" in result.stdout
    assert 'fix: DROP TRIGGER "no";' in result.stdout


def test_the_doctor_says_what_to_do_and_exits_with_1(run, store):
    store.added(queue="mail")

    result = run("doctor")

    assert result.exit_code == 1
    assert "no living worker serves it\n" in result.stdout
    assert re.search(r"fix: belayed --url \S+ work -q mail$", result.stdout, re.MULTILINE)


def test_the_doctor_says_that_the_database_is_out_of_reach(run):
    result = run("doctor", url="postgresql://me:secret@127.0.0.1:1/app")

    assert result.exit_code == 1
    assert result.stdout.startswith("fail   database   cannot connect to PostgreSQL")
    assert "secret" not in result.output


def test_the_doctor_lists_the_tasks_of_the_application(process, enqueue):
    enqueue("jobs.migrate()")

    ended = process("doctor", "--app", "shop")

    assert ended.returncode == 0, ended.stdout
    assert ended.stdout.splitlines()[0] == "ok     application   shop, 2 tasks: shop.flaky, shop.send"


@pytest.mark.parametrize(
    ("code", "error"), [("1 / 0", "ZeroDivisionError: division by zero"), ("", "there is no module nowhere")]
)
def test_the_doctor_goes_on_when_the_application_cannot_be_imported(process, folder, store, sqlite_url, code, error):
    (folder / "broken.py").write_text(code)

    ended = process("doctor", "--app", "broken" if code else "nowhere", "--url", sqlite_url)

    assert ended.returncode == 1
    assert ended.stdout.startswith("fail   application   ")
    assert error in ended.stdout
    assert "ok     tables" in ended.stdout


@pytest.mark.dj(334)
def test_the_code_of_waiting_jobs_must_be_importable(process, enqueue, shop):
    enqueue("send.enqueue('ada'); flaky.enqueue(); flaky.enqueue()")
    good = process("doctor", "--app", "shop")
    shop.write_text(shop.read_text().replace("def flaky", "def renamed"))

    bad = process("doctor", "--app", "shop")

    assert re.search(r"^ok +code +that of 2 tasks whose jobs wait can be imported$", good.stdout, re.MULTILINE)
    assert bad.returncode == 1
    assert re.search(r"^fail +code +jobs of shop.flaky wait, but ", bad.stdout, re.MULTILINE)


def kept(**settings):
    """What a server of another machine does with the sessions of vanished clients, by default that of a Linux."""
    defaults = {
        "database": 'the "shop"', "remote": True, "idle": 7200.0, "interval": 75.0, "looks": 9.0, "user_timeout": 0.0,
        "idle_in_transaction": 0.0,
    }  # fmt: skip
    return vanished.sessions(Sessions(**{**defaults, **settings}))


SHORT = {"idle": 30.0, "interval": 10.0, "looks": 3.0}


@pytest.mark.parametrize(
    ("settings", "result", "text"),
    [
        ({}, "warn", "stays for up to 2 h"),
        # What was on its way when the machine vanished keeps the keepalives from being sent.
        (SHORT, "warn", "stays for up to 15 min"),
        ({"user_timeout": 60.0}, "warn", "stays for up to 2 h"),
        ({**SHORT, "user_timeout": 60.0}, "ok", "ends within 60 s"),
        ({**SHORT, "user_timeout": 900.0}, "warn", "stays for up to 15 min"),
        ({"idle_in_transaction": 120.0}, "ok", "ends within 2 min"),
        ({"idle_in_transaction": 600.0}, "warn", "stays for up to 10 min"),
        ({**SHORT, "user_timeout": 60.0, "idle_in_transaction": 3600.0}, "ok", "ends within 60 s"),
        ({"remote": False}, "ok", "of others is not known"),
    ],
)
def test_a_server_that_keeps_the_sessions_of_vanished_machines_is_a_warning(settings, result, text):
    found = kept(**settings)

    assert (found.result.value, bool(found.fix)) == (result, result == "warn")
    assert text in found.text


def test_the_remedy_can_be_copied_and_helps(postgres_url):
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        database = raw.info.dbname
        raw.execute(kept(database=database).fix.encode())
    jobs = Jobs(postgres_url)
    found = jobs.connections.perform(jobs.store.sessions())
    jobs.close()

    assert (found.database, found.remote) == (database, False)
    assert vanished.sessions(found._replace(remote=True)).result is Result.OK


def test_only_a_server_keeps_sessions(jobs):
    found = jobs.connections.perform(jobs.store.sessions())

    assert (found is None) == (jobs.store.dialect == "sqlite")


def test_the_doctor_goes_on_where_the_role_may_not_even_look(run, postgres_url):
    with contextlib.closing(Jobs(postgres_url, schema="work")) as jobs:
        jobs.migrate()
    role = f"blind_{uuid4().hex[:8]}"
    with psycopg.connect(postgres_url, autocommit=True) as raw:
        raw.execute(f"CREATE ROLE {role} LOGIN".encode())
        try:
            url = postgres_url.replace("postgres@", f"{role}@")
            with contextlib.closing(Jobs(url, schema="work")) as jobs:
                found = checks.examined(jobs)
            raw.execute(f"GRANT USAGE ON SCHEMA work TO {role}".encode())
            with contextlib.closing(Jobs(url, schema="work")) as jobs:
                lacking = checks.examined(jobs)
        finally:
            raw.execute(f"DROP OWNED BY {role}".encode())
            raw.execute(f"DROP ROLE {role}".encode())

    assert [finding.fix for finding in found] == [f"GRANT USAGE ON SCHEMA work TO {role};"]
    assert {finding.result for finding in lacking if finding.check == "rights"} == {Result.FAIL}


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("BELAYED_THREADS", "five", "it takes a whole number, such as 5"),
        ("BELAYED_PROCESSES", "1.5", "it takes a whole number, such as 5"),
        ("BELAYED_THREADS", "0", "it takes 1 or more"),
        ("BELAYED_GRACE", "5x", "is no time"),
        ("BELAYED_MAX_RSS", "lots", "is no size"),
        ("BELAYED_THREAD", "5", "did you mean BELAYED_THREADS?"),
        ("BELAYED_MAX_ATTEMPTS", "ten", "it takes a whole number, such as 5"),
    ],
)
def test_a_variable_with_which_no_worker_starts_fails_once(each_url, monkeypatch, variable, value, says):
    monkeypatch.setenv(variable, value)

    failed = [finding.text for finding in checks.all_findings(Place(url=each_url)) if finding.result is Result.FAIL]

    assert [text for text in failed if variable in text and says in text] != []
    assert len([text for text in failed if variable in text]) == 1
