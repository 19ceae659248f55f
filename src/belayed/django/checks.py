"""System checks: what is wrong is said by `manage.py check`, before a request finds it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.core import checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connections
from django.db.models.base import ModelBase

from belayed.addresses import without_secrets
from belayed.django import conf, mail
from belayed.django.jobs import DjangoConnection, DjangoJobs
from belayed.django.reaching import unheeded, unreached
from belayed.django.routing import refusal, remedy
from belayed.django.trusting import NEVER
from belayed.errors import BelayedError, SchemaMissing, SchemaNewer, StoreError
from belayed.pages import Page

Found = list[checks.CheckMessage]


def install() -> None:
    checks.register(settings, "belayed")
    checks.register(relations, checks.Tags.models)
    checks.register(databases, checks.Tags.database)


def settings(app_configs: Any, **_given: Any) -> Found:
    """The setting BELAYED."""
    try:
        jobs = DjangoJobs()
    except BelayedError as error:
        hint = f"See {Page.DJANGO.named('Settings')}."
        return [checks.Error(str(error), hint=hint, id="belayed.E001")]
    alias = conf.alias()
    # A library with a schema for each tenant migrates those without the tables of jobs, as it should.
    refused = [] if migrates() else routed(alias)
    told = [*elsewhere(alias), *at_hand(alias), *unheeded(alias), *mails()]
    return [*trusted(jobs.config.trust or ()), *told, *refused]


def mails() -> Found:
    """What the worker sends mails by."""
    hint = f"See {Page.DJANGO.named('Mail')}."
    return [checks.Error(problem, hint=hint, id="belayed.E007") for problem in mail.problems()]


def relations(app_configs: Any, **_given: Any) -> Found:
    """Relations of the project's models to those of jobs: their foreign keys would refuse that a job ends."""
    found: Found = []
    for model in apps.get_models(include_auto_created=True):
        for field in model._meta.local_fields:
            related: Any = getattr(field, "related_model", None)
            if not isinstance(related, ModelBase) or related._meta.app_label != "belayed":
                continue
            if model._meta.app_label == "belayed" or not getattr(field, "db_constraint", True):
                continue
            found.append(
                checks.Error(
                    f"{model._meta.label}.{field.name} is a relation to {related._meta.label}: a job's row is deleted "
                    "when it ends, which the database would refuse",
                    hint="Keep the id: job_id = models.BigIntegerField(null=True), and get the job by it. Or say "
                    "db_constraint=False, on_delete=models.DO_NOTHING.",
                    obj=field,
                    id="belayed.E004",
                )
            )
    return found


def trusted(packages: Sequence[str]) -> Found:
    """The packages of BELAYED['TRUST']: what is misspelt covers nothing, and what is too wide covers too much."""
    found: Found = []
    for package in packages:
        if package in NEVER:
            found.append(
                checks.Warning(
                    f"BELAYED['TRUST'] names {package!r}: whoever can write into the tables of jobs can call all of it",
                    hint="Name your own packages, and of others' the smallest that has the function, such as "
                    "'django.contrib.auth'; better, write a function of your own that calls it.",
                    id="belayed.W007",
                )
            )
        elif not there(package):
            found.append(
                checks.Warning(
                    f"BELAYED['TRUST'] names {package!r}, which is not a module in this project",
                    hint="Names are written as in an import. What it was meant to cover is refused.",
                    id="belayed.W006",
                )
            )
    return found


def there(module: str) -> bool:
    """Whether there is such a module."""
    try:
        return module in sys.modules or find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def elsewhere(alias: str) -> Found:
    """Jobs of another database are not saved in the transactions of this one."""
    if alias == "default":
        return []
    return [
        checks.Info(
            f"jobs live in the database {alias!r}: one that is enqueued in a transaction of another database is saved "
            "after that one's commit, and lost if the process dies in between",
            hint="Jobs in the database of what they are about are saved with it. Silence this if it is meant.",
            id="belayed.I001",
        )
    ]


def at_hand(alias: str) -> Found:
    """How the database of the jobs is reached."""
    return on_sqlite(alias) if conf.dialect_of(alias) == "sqlite" else driver()


def on_sqlite(alias: str) -> Found:
    """How transactions begin in SQLite: one that first reads and then writes fails while another writes."""
    options = connections.databases[alias].get("OPTIONS", {})
    found: Found = []
    if str(options.get("transaction_mode", "")).upper() != "IMMEDIATE":
        found.append(
            checks.Warning(
                f"transactions of the database {alias!r} begin DEFERRED: one that reads before it enqueues fails with "
                "'database is locked' while a worker writes",
                hint="DATABASES[…]['OPTIONS'] = {'transaction_mode': 'IMMEDIATE', …}",
                id="belayed.W001",
            )
        )
    if "timeout" in options and float(options["timeout"]) < 5:
        found.append(
            checks.Warning(
                f"the database {alias!r} waits {options['timeout']} s for a lock: workers write often",
                hint="DATABASES[…]['OPTIONS'] = {'timeout': 20, …}",
                id="belayed.W002",
            )
        )
    return found


def driver() -> Found:
    """PostgreSQL is reached by psycopg 3."""
    if find_spec("psycopg") is not None:
        return []
    return [
        checks.Error(
            "Belayed takes psycopg 3, which is not installed",
            hint="pip install 'psycopg[binary]' (Django prefers it to psycopg2)",
            id="belayed.E002",
        )
    ]


def migrates() -> bool:
    """Whether this is a command that makes tables."""
    return any(word.startswith("migrate") for word in sys.argv[1:2])


def routed(alias: str) -> Found:
    """Database routers that keep `migrate` from making the tables."""
    why = refusal(alias)
    return [] if why is None else [checks.Warning(why[0], hint=why[1], id="belayed.W008")]


def databases(app_configs: Any, databases: Sequence[str] | None = None, **_given: Any) -> Found:
    """The tables, the connections of workers, and on SQLite the write-ahead log: only where Django may look there."""
    try:
        alias = conf.alias()
        if alias not in (databases or ()):
            return []
        jobs = DjangoJobs()
    except BelayedError:
        # The other check says it.
        return []
    found: Found = []
    try:
        # First: a connection of Belayed's own would give the file such a log.
        found = journal(jobs)
        if not found and (why := unreached(jobs)):
            return why
        jobs.check_schema()
    except SchemaNewer as error:
        return [checks.Error(str(error), id="belayed.E003")]
    except SchemaMissing:
        return missing(alias)
    except (StoreError, DatabaseError, ImproperlyConfigured) as error:
        text = without_secrets(str(error))
        return [checks.Warning(f"the database {alias!r} cannot be looked at: {text}", id="belayed.W004")]
    except BelayedError as error:
        return [checks.Error(str(error), id="belayed.E009")]
    return found


def missing(alias: str) -> Found:
    """Tables that are not there. No error: `migrate` looks first, and would not go on."""
    if migrates():
        # What is about to make them need not be told; but if it will not.
        return routed(alias)
    what = f"the tables of jobs are not in the database {alias!r}, or of an older version"
    return [checks.Warning(what, hint=remedy(alias), id="belayed.W005")]


def journal(jobs: DjangoJobs) -> Found:
    """Whether an SQLite file has a write-ahead log."""
    found = DjangoConnection(jobs.alias).perform(jobs.store.check())
    if jobs.address.dialect != "sqlite" or found.journal in ("wal", "memory"):
        return []
    return [
        checks.Warning(
            f"the journal mode of {jobs.alias!r} is {found.journal}, not wal: workers and requests block one another",
            hint="DATABASES[…]['OPTIONS'] = {'init_command': 'PRAGMA journal_mode=WAL', …}",
            id="belayed.W003",
        )
    ]
