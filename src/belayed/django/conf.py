"""The setting `BELAYED`, and where the database that it names is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from belayed.addresses import without_secrets
from belayed.config import MEMORY, Config, WorkerConfig, in_full
from belayed.connections.parameters import ConnectionParameters, of_driver
from belayed.errors import ConfigError, StoreUnavailable
from belayed.mistakes import nearest
from belayed.plugin import Plugin

NOT_HERE = ("url", "prefix", "synchronous")
"""Settings that Django's own take the place of."""
OF_JOBS = tuple(setting.name for setting in fields(Config) if setting.name not in NOT_HERE)
OF_WORKERS = tuple(setting.name for setting in fields(WorkerConfig))
OWN = ("DATABASE", "PLUGINS", "MAIL_USING", "MAIL_QUEUE")
NAMES = (*OWN, *(name.upper() for name in OF_JOBS))
DIALECTS = ("sqlite", "postgresql")
"""The dialects of Belayed, which Django has as vendors of its engines by the same names."""


def given() -> Mapping[str, Any]:
    """The setting. Raises ConfigError for what is none."""
    found = getattr(settings, "BELAYED", {})
    if not isinstance(found, Mapping):
        raise ConfigError(f"BELAYED is {found!r}: it takes a dict, such as {{'MAX_ATTEMPTS': 10}}")
    for name in found:
        if name not in NAMES:
            raise ConfigError(f"BELAYED[{name!r}]: there is no such setting; {meant(str(name))}")
    return found


def meant(name: str) -> str:
    """What to do about a setting that there is not."""
    if (lower := name.lower()) in NOT_HERE:
        return "DATABASES says it, and Django's own migrations"
    if lower in OF_WORKERS:
        return (
            f"it is a setting of workers: say --{lower.replace('_', '-')}, or set the variable BELAYED_{name.upper()}"
        )
    near = nearest(name.upper(), NAMES)
    return f"did you mean {near}?" if near else f"there are {', '.join(NAMES)}"


def require_installed(who: str) -> None:
    """Raise ImproperlyConfigured unless the project has installed what *who* needs."""
    if not apps.is_installed("belayed.django"):
        raise ImproperlyConfigured(f"{who} needs Belayed: add 'belayed.django' to INSTALLED_APPS, and run migrate")


def alias() -> str:
    """The database that jobs live in."""
    name = given().get("DATABASE", "default")
    if name not in connections.databases:
        raise ConfigError(f"BELAYED['DATABASE'] is {name!r}: DATABASES has {', '.join(connections.databases)}")
    return str(name)


def of_jobs() -> dict[str, Any]:
    """The settings of Jobs."""
    return {name.lower(): value for name, value in given().items() if name not in OWN}


def schema() -> str | None:
    """The schema of the tables, where it is named: in PostgreSQL."""
    named = given().get("SCHEMA")
    return named if named and dialect_of(alias()) == "postgresql" else None


def table(name: str) -> str:
    """The name of a table of jobs for a model's `db_table`. Django leaves alone what is in quotes."""
    try:
        named = schema()
    except ConfigError:
        # The system checks say it.
        named = None
    return f'"{named}"."{name}"' if named else name


def plugins() -> list[Plugin]:
    """The plugins that are named. Raises ConfigError."""
    found = []
    named = given().get("PLUGINS", ())
    if isinstance(named, str):
        raise ConfigError(f"BELAYED['PLUGINS'] is {named!r}: it takes a list, such as [{named!r}]")
    for one in named:
        try:
            plugin = import_string(one) if isinstance(one, str) else one
        except ImportError as error:
            raise ConfigError(f"BELAYED['PLUGINS'] names {one!r}, which cannot be imported: {error}") from error
        found.append(plugin() if isinstance(plugin, type) else plugin)
    return found


def dialect_of(name: str) -> str:
    """The dialect of a database. Raises ConfigError for one that Belayed does not know."""
    try:
        # Not by the engine's path: there are aliases, and engines of others that are derived from Django's.
        vendor = connections[name].vendor
    except ImproperlyConfigured as error:
        raise ConfigError(f"the engine of the database {name!r} cannot be used: {error}") from error
    if vendor not in DIALECTS:
        raise ConfigError(
            f"the database {name!r} is of {connections.databases[name]['ENGINE']}: Belayed keeps jobs in SQLite or "
            "PostgreSQL; name another by BELAYED = {'DATABASE': …}"
        )
    return vendor


def url_of(name: str) -> str:
    """The URL that says which database it is: for messages, and to compare it. Connections are made by `parameters_of`.

    So there is no password in it, and nothing that is asked of the engine.
    """
    # Those of the connection: tests give their databases other names.
    found = connections[name].settings_dict
    if dialect_of(name) == "sqlite":
        return sqlite_url(found["NAME"])
    user, host, port, database = (str(found.get(key) or "") for key in ("USER", "HOST", "PORT", "NAME"))
    who = f"{quote(user, safe='')}@" if user else ""
    if host and not host.startswith("/") and "," not in host:
        at = f"[{host}]" if ":" in host else quote(host)
        return f"postgresql://{who}{at}{f':{port}' if port else ''}/{quote(database, safe='')}"
    options = {"host": host, "port": port, "service": found.get("OPTIONS", {}).get("service")}
    query = urlencode({key: value for key, value in options.items() if value})
    return f"postgresql://{who}/{quote(database, safe='')}{f'?{query}' if query else ''}"


def parameters_of(name: str) -> ConnectionParameters:
    """What Django's next connection to a database would be opened with, asked of its engine.

    Raises ConfigError for wrong settings, and StoreUnavailable for what else an engine raises.
    """
    # In each thread it is another one, and no connection is opened.
    engine: Any = connections[name]
    try:
        given = engine.get_connection_params()
    except ImproperlyConfigured as error:
        raise ConfigError(f"the database {name!r}: {error}") from error
    except Exception as error:
        # It may ask another server for a password.
        text = without_secrets(f"{type(error).__name__}: {error}")
        raise StoreUnavailable(f"the engine of the database {name!r} cannot say how to connect: {text}") from error
    commands = tuple(text.strip() for text in getattr(engine, "init_commands", ()) if text.strip())
    return of_driver(given, role=engine.settings_dict.get("OPTIONS", {}).get("assume_role"), commands=commands)


def sqlite_url(name: Any) -> str:
    """The URL of an SQLite file, or of a database in memory, which no worker could open."""
    path = path_of(name)
    return f"sqlite:///{MEMORY if path is None else quote(in_full(path))}"


def path_of(name: Any) -> str | None:
    """The path of the file that the NAME of an SQLite database says; None: it is in memory."""
    text = str(name)
    if not text.startswith("file:"):
        return None if text in ("", MEMORY) else text
    uri = urlsplit(text)
    is_in_memory = {"mode=memory", "vfs=memdb"} & set(uri.query.split("&")) or uri.path in ("", MEMORY)
    return None if is_in_memory else unquote(uri.path)


def pin(name: str) -> None:
    """Give a database's SQLite file its full path: Django would open it in the folder that a job has moved to."""
    found = connections.databases[name]
    if dialect_of(name) != "sqlite" or (path := path_of(found["NAME"])) is None:
        return
    text = str(found["NAME"])
    if not text.startswith("file:"):
        found["NAME"] = in_full(path)
    elif not path.startswith("/"):
        _, mark, query = text.partition("?")
        found["NAME"] = f"file:{quote(in_full(path))}{mark}{query}"
