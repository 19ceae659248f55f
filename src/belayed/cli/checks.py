"""The checks of `doctor`: each looks at one thing and says what it found and what to do. Nothing is printed here."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from shlex import quote

from belayed import origin
from belayed.addresses import without_secrets
from belayed.application import Application, ImportFailed
from belayed.cli.app import Place, check_file
from belayed.cli.queues import Queue, by_queue
from belayed.cli.show import as_called, counted, one_line, program, rough
from belayed.cli.vanished import sessions
from belayed.config import WorkerConfig, settings
from belayed.connections.sqlite import OLDEST as OLDEST_SQLITE
from belayed.errors import ConfigError, SchemaMissing, SchemaNewer, StoreError, UnknownPayload, UntrustedPayload
from belayed.job import State
from belayed.jobs import Jobs
from belayed.payload import load, registry
from belayed.store.answers import Checked, Ids, WorkerRow, servings
from belayed.store.findings import Finding, Result, ok
from belayed.tasks import Task

DRIFT = timedelta(seconds=5)
"""How far a machine's clock may be from the database's."""
SHOWN = 20
"""Findings of one check, at most."""
FEW_IDS = 10**9
"""Ids that a table has left when it is time to act: years of jobs."""
NEWEST = 1000
"""So many waiting jobs are looked at for their code."""
WAL_RESET_REMEDY = (
    "use a Python whose SQLite is 3.51.3 or later (or 3.50.7, 3.44.6); a wheel can bring it for the whole environment, "
    'see "The WAL-reset bug" in the documentation'
)
OLDEST = {"sqlite": OLDEST_SQLITE, "postgresql": (12,)}


def all_findings(place: Place) -> list[Finding]:
    """What all checks find, in the order in which one thing needs the other, without passwords that errors quote."""
    return [finding._replace(text=without_secrets(finding.text)) for finding in found(place)]


def found(place: Place) -> list[Finding]:
    """What all checks find."""
    first, jobs = application(place)
    findings = [*([first] if first else []), *worker_settings(first)]
    if jobs is None:
        return findings
    try:
        checked = reached(jobs)
    except (StoreError, ConfigError) as error:
        runs = "" if jobs.address.dialect == "sqlite" else "the server runs and that "
        fix = f"see that {runs}the address is right (--url or BELAYED_URL)"
        return [*findings, Finding("database", Result.FAIL, one_line(error), fix)]
    findings += [database(jobs, checked), *misled(jobs), *setup(jobs.store.dialect, checked)]
    if (kept := jobs.connections.perform(jobs.store.sessions())) is not None:
        findings.append(sessions(kept))
    try:
        version = jobs.connections.perform(jobs.store.version())
    except (SchemaMissing, SchemaNewer) as error:
        closed = [] if isinstance(error, SchemaNewer) else [one for one in examined(jobs) if one.check == "rights"]
        if closed and closed[0].result is Result.FAIL:
            text = "the role may not look where they are"
            return [*findings, Finding("tables", Result.FAIL, text, "see the next line"), *closed]
        newer = isinstance(error, SchemaNewer)
        fix = "pip install -U belayed" if newer else as_called(jobs.migrate_remedy())
        return [*findings, Finding("tables", Result.FAIL, one_line(error).partition(": ")[0], fix)]
    except StoreError as error:
        # What it says of itself tells why.
        return [*findings, Finding("tables", Result.FAIL, one_line(error), "see the next line"), *examined(jobs)]
    now = jobs.do(jobs.store.now)
    findings += [ok("tables", f"version {version}"), *examined(jobs), clock(now - datetime.now(UTC))]
    if any(finding.check == "rights" and finding.result is Result.FAIL for finding in findings):
        return findings
    rows = jobs.workers()
    queues = by_queue(jobs.counts(most=1).live, jobs.paused(), now)
    numbers = ids(jobs.connections.perform(jobs.store.ids()))
    return [*findings, *numbers, *workers(rows, now), *waiting(queues, rows, now), *code(jobs)]


def worker_settings(first: Finding | None) -> list[Finding]:
    """The environment's setting that would keep a worker from starting, unless the *first* finding names it."""
    try:
        settings(WorkerConfig, {})
    except ConfigError as error:
        if first is None or one_line(error) != first.text:
            return [Finding("settings", Result.FAIL, one_line(error), "set it right, or unset it: no worker starts so")]
    return []


def examined(jobs: Jobs) -> list[Finding]:
    """What the store finds of itself, and whether it takes writes."""
    try:
        found = jobs.connections.perform(jobs.store.findings())
        if any(finding.check == "rights" and finding.result is Result.FAIL for finding in found):
            return found
        return [*found, jobs.connections.rehearse(jobs.store.probe())]
    except StoreError as error:
        return [Finding("writes", Result.FAIL, one_line(error), "see what the database says")]


def application(place: Place) -> tuple[Finding | None, Jobs | None]:
    """Whether the application can be imported and which tasks it has; and its `Jobs`, or else those of the URL."""
    try:
        named = place.application()
        jobs = place.jobs(create=True)
    except ImportFailed as error:
        text, fix = f"{error.what} {error.reason}", error.advice or "mend that"
        return Finding("application", Result.FAIL, text, fix), elsewhere(place)
    except ConfigError as error:
        fix = f"see `{program()} --help` for --app and --url"
        return Finding("application", Result.FAIL, one_line(error), fix), elsewhere(place)
    return ok("application", tasks(named)) if named else None, jobs


def elsewhere(place: Place) -> Jobs | None:
    """The `Jobs` of the URL, where the application cannot say; None if the URL is wrong too."""
    try:
        return Jobs(place.url)
    except ConfigError:
        return None


def tasks(application: Application) -> str:
    names = sorted({task.name for task in registry.values() if isinstance(task, Task)})
    return f"{application.name}, {counted(len(names), 'task')}{': ' if names else ''}{', '.join(names)}"


def reached(jobs: Jobs) -> Checked:
    """What the database says of itself. Nothing is made that is not there. Raises StoreError."""
    check_file(jobs)
    return jobs.connections.perform(jobs.store.check())


def database(jobs: Jobs, checked: Checked) -> Finding:
    """Whether its version is one that Belayed runs on."""
    dialect = jobs.store.dialect
    text = f"{product(dialect)} {checked.version}, {origin.shown(jobs.address)}"
    oldest = OLDEST[dialect]
    if number_of(checked.version) >= oldest:
        return ok("database", text)
    return Finding("database", Result.FAIL, text, f"it takes {product(dialect)} {'.'.join(map(str, oldest))} or later")


def misled(jobs: Jobs) -> list[Finding]:
    """Whether it is the default beside a Django project, whose jobs are elsewhere."""
    manage, place = origin.nearby_project(), jobs.address
    if manage is None or not origin.is_default(place):
        return []
    return [
        Finding("database", Result.WARN, f"it is the default{origin.advice(place)}", f"python {manage} belayed doctor")
    ]


def setup(dialect: str, checked: Checked) -> list[Finding]:
    """Whether it is set up as Belayed needs it."""
    findings = []
    if dialect == "sqlite":
        if has_wal_reset_bug(checked.version):
            text = f"SQLite {checked.version} has the WAL-reset bug, which in rare cases corrupts a file"
            findings.append(Finding("database", Result.WARN, text, WAL_RESET_REMEDY))
        if checked.journal != "wal":
            text = f"the journal mode is {checked.journal}, not wal: workers and enqueues block one another"
            findings.append(Finding("database", Result.WARN, text, "keep the file on a local disk"))
    elif checked.encoding != "UTF8":
        text = f"its encoding is {checked.encoding}: jobs with characters outside of it cannot be saved"
        fix = "CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0"
        findings.append(Finding("database", Result.FAIL, text, fix))
    return findings


def clock(difference: timedelta) -> Finding:
    """Whether this machine's clock agrees with the database's, by which jobs are due."""
    if abs(difference) <= DRIFT:
        return ok("clock", "this machine's agrees with the database's")
    side = "behind" if difference > timedelta() else "ahead of"
    text = f"this machine's is {rough(abs(difference))} {side} the database's, by which jobs are due"
    return Finding("clock", Result.WARN, text, "set it, and let NTP keep it")


def ids(tables: Sequence[Ids]) -> list[Finding]:
    """Whether each table has ids left, and gives none that it has already."""
    findings = []
    for one in tables:
        mend = f"in SQL: {one.mending}"
        if one.least is not None and one.least < 1:
            text = f"{one.table} has a row with the id {one.least}: changes of many jobs pass over it"
            findings.append(Finding("ids", Result.WARN, text, f"{program()} delete -- {one.least}"))
        if one.last is None or one.most is None:
            continue
        left = one.most - one.last
        if left < FEW_IDS:
            count = "no id is" if not left else f"only {counted(left, 'id')} {'is' if left == 1 else 'are'}"
            fix = mend if one.beyond is None else f"{program()} delete {one.beyond}, then {mend}"
            result = Result.WARN if left else Result.FAIL
            findings.append(Finding("ids", result, f"{count} left for new rows of {one.table}", fix))
        elif one.last < one.greatest:
            text = f"the next id of {one.table} is {one.last + 1}, but it has rows up to {one.greatest}"
            text = f"{text}: ids are given twice"
            findings.append(Finding("ids", Result.FAIL, text, mend))
    return findings or [ok("ids", "there are enough, and none is given twice")]


def workers(rows: Sequence[WorkerRow], now: datetime) -> list[Finding]:
    """Whether there are workers, and whether they are alive."""
    alive = [row for row in rows if row.alive]
    findings = []
    if alive:
        findings.append(ok("workers", f"{counted(len(alive), 'worker')} alive"))
    else:
        findings.append(Finding("workers", Result.WARN, "none is alive", f"{program()} work"))
    for row in rows:
        if not row.alive:
            silent = f", for {rough(now - row.beat_at)}" if row.beat_at else ""
            text = f"{row.name} has stopped beating{silent}; it holds {counted(row.running, 'job')}"
            fix = "others rescue its jobs" if alive else "start a worker: it rescues its jobs"
            findings.append(Finding("workers", Result.WARN, text, fix))
    return few(findings, f"{program()} status --all")


def waiting(queues: Sequence[Queue], rows: Sequence[WorkerRow], now: datetime) -> list[Finding]:
    """Whether each queue in which a job waits is served."""
    findings = []
    serving = servings(rows)
    for queue in sorted((queue for queue in queues if queue.oldest), key=lambda queue: queue.oldest or now):
        assert queue.oldest is not None
        text = f"jobs wait in {queue.name} for {rough(now - queue.oldest)}"
        if queue.paused:
            findings.append(
                Finding("queues", Result.WARN, f"{text}: it is paused", f"{program()} resume {quote(queue.name)}")
            )
        elif not any(one.serves(queue.name) for one in serving):
            fix = f"{program()} work -q {quote(queue.name)}"
            findings.append(Finding("queues", Result.FAIL, f"{text}: no living worker serves it", fix))
    return few(findings, f"{program()} status --all") or [ok("queues", "each in which jobs wait is served")]


def few(findings: list[Finding], fix: str) -> list[Finding]:
    """The first findings of a check, and how many more there are."""
    if len(findings) <= SHOWN:
        return findings
    rest = findings[SHOWN:]
    result = Result.FAIL if any(one.result is Result.FAIL for one in rest) else Result.WARN
    return [*findings[:SHOWN], Finding(rest[0].check, result, f"and {len(rest):,} more of these", fix)]


def code(jobs: Jobs) -> list[Finding]:
    """Whether the code of the jobs that wait can be imported: of one job of each task among the newest."""
    found = {job.task: job for job in jobs.find(states=[State.READY, State.SCHEDULED], limit=NEWEST)}
    findings = []
    for task, job in sorted(found.items()):
        # What it refers to may be gone, or out of reach from here: that is not what is asked.
        with suppress(Exception):
            try:
                load(job.payload or "", jobs.codec)
            except (UnknownPayload, UntrustedPayload) as error:
                fix = "deploy the code, name the application (--app), or configure(trust=[…])"
                findings.append(Finding("code", Result.FAIL, f"jobs of {task} wait, but {one_line(error)}", fix))
    return few(findings, f"{program()} jobs") or [
        ok("code", f"that of {counted(len(found), 'task')} whose jobs wait can be imported")
    ]


def product(dialect: str) -> str:
    return {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[dialect]


def number_of(version: str) -> tuple[int, ...]:
    """The numbers of a version: of `16.4 (Debian 16.4-1)` 16 and 4, of `18beta1` 18."""
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def has_wal_reset_bug(version: str) -> bool:
    """Whether this SQLite may lose what two connections write while one resets the write-ahead log."""
    # https://sqlite.org/wal.html#walresetbug
    number = number_of(version)
    mended = (3, 50, 7) <= number < (3, 51) or (3, 44, 6) <= number < (3, 45)
    return number < (3, 51, 3) and not mended
