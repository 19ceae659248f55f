"""The setting `BELAYED`, and where the database that it names is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any
from urllib.parse import quote, urlencode

from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections
from django.utils.module_loading import import_string

from belayed.config import MEMORY, Config, in_full
from belayed.errors import ConfigError
from belayed.plugin import Plugin

NOT_HERE = ("url", "prefix", "synchronous")
"""Settings that Django's own take the place of."""
OF_JOBS = tuple(setting.name for setting in fields(Config) if setting.name not in NOT_HERE)
OWN = ("DATABASE", "PLUGINS", "MAIL_USING", "MAIL_QUEUE")
NAMES = (*OWN, *(name.upper() for name in OF_JOBS))
ENGINES = {"sqlite3": "sqlite", "spatialite": "sqlite", "postgresql": "postgresql", "postgis": "postgresql"}
"""The last part of an engine's name, and our dialect of it."""


def given() -> Mapping[str, Any]:
    """The setting. Raises ConfigError for what is none."""
    found = getattr(settings, "BELAYED", {})
    if not isinstance(found, Mapping):
        raise ConfigError(f"BELAYED is {found!r}: it takes a dict, such as {{'MAX_ATTEMPTS': 10}}")
    for name in found:
        if name not in NAMES:
            raise ConfigError(f"BELAYED[{name!r}]: there is no such setting; there are {', '.join(NAMES)}")
    return found


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
    for one in given().get("PLUGINS", ()):
        try:
            plugin = import_string(one) if isinstance(one, str) else one
        except ImportError as error:
            raise ConfigError(f"BELAYED['PLUGINS'] names {one!r}, which cannot be imported: {error}") from error
        found.append(plugin() if isinstance(plugin, type) else plugin)
    return found


def dialect_of(name: str) -> str:
    """The dialect of a database. Raises ConfigError for one that Belayed does not know."""
    engine = connections.databases[name]["ENGINE"]
    dialect = ENGINES.get(engine.rpartition(".")[2])
    if dialect is None:
        raise ConfigError(
            f"the database {name!r} is of {engine}: Belayed keeps jobs in SQLite or PostgreSQL; name another by "
            "BELAYED = {'DATABASE': …}"
        )
    return dialect


def url_of(name: str) -> str:
    """The URL of a database, for the connections of workers: with the password, so never for messages."""
    # Those of the connection: tests give their databases other names.
    found = connections[name].settings_dict
    if dialect_of(name) == "sqlite":
        return sqlite_url(found["NAME"])
    options = {key: value for key, value in found.get("OPTIONS", {}).items() if key in OF_LIBPQ and value is not None}
    host = str(found.get("HOST") or "")
    at = ""
    if host.startswith("/") or not host:
        options |= {"host": host} if host else {}
    else:
        at = f"[{host}]" if ":" in host else quote(host)
    user, password = (quote(str(found.get(key) or ""), safe="") for key in ("USER", "PASSWORD"))
    who = f"{user}{f':{password}' if password else ''}@" if user or password else ""
    port = f":{found['PORT']}" if found.get("PORT") and at else ""
    if found.get("PORT") and not at:
        options["port"] = found["PORT"]
    query = f"?{urlencode(options)}" if options else ""
    return f"postgresql://{who}{at}{port}/{quote(str(found.get('NAME') or ''), safe='')}{query}"


OF_LIBPQ = (
    "sslmode", "sslrootcert", "sslcert", "sslkey", "sslpassword", "sslcrl", "service", "passfile", "connect_timeout",
    "target_session_attrs", "application_name", "keepalives", "keepalives_idle", "keepalives_interval",
    "keepalives_count", "channel_binding", "gssencmode", "krbsrvname", "options", "tcp_user_timeout",
    "load_balance_hosts",
)  # fmt: skip
"""Options of a connection that are libpq's, not Django's."""


def sqlite_url(name: Any) -> str:
    """The URL of an SQLite file. Raises ConfigError for what no worker could open."""
    return f"sqlite:///{quote(in_full(str(name)))}" if is_file(name) else f"sqlite:///{MEMORY}"


def is_file(name: Any) -> bool:
    """Whether the NAME of an SQLite database is the path of a file."""
    return str(name) not in ("", MEMORY) and not str(name).startswith("file:")


def pin(name: str) -> None:
    """Give a database's SQLite file its full path: Django would open it in the folder that a job has moved to."""
    found = connections.databases[name]
    if dialect_of(name) == "sqlite" and is_file(found["NAME"]):
        found["NAME"] = in_full(str(found["NAME"]))
