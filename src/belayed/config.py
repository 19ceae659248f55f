"""Settings: their meaning, unit, default and environment variable; and the `Jobs` that the program uses by default."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints
from urllib.parse import quote, unquote

from belayed.addresses import POSTGRESQL, SCHEME, hidden, looks_like_login, without_secrets
from belayed.errors import ConfigError
from belayed.mistakes import nearest
from belayed.parsing import duration, json_object, listed, size, whole_number

DAY = timedelta(days=1)
MEMORY = ":memory:"
"""Instead of a file's path: a database in memory."""


LONGEST_PREFIX = 49
"""Bytes: with what the longest name of a table or an index adds, it has the 63 that PostgreSQL keeps of a name."""
LONGEST_NAME = 63
"""Bytes that PostgreSQL keeps of a name."""
LARGEST_PAYLOAD = 64 * 1024 * 1024
"""Bytes: the tables take no larger payload or result."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """What a `Jobs` object is told. Each setting may come from the environment as `BELAYED_` and its name in capitals.

    A time may be written there as seconds (`90`, `0.5`) or with a unit (`30s`, `5m`, `12h`, `7d`), a list with commas.
    """

    url: str = field(default="", repr=False)
    """Where jobs are kept: `sqlite:///file.db`, `postgresql://…`. Also `DATABASE_URL`; default: see `default_url()`."""
    schema: str | None = None
    """PostgreSQL schema of the tables. Default: the first of the search path."""
    prefix: str = "belayed_"
    """What the tables' names begin with."""
    trust: tuple[str, ...] | None = None
    """Packages whose code workers may run. Default: registered tasks and the application's own top-level packages."""
    payload_limit: int = 1024 * 1024
    """The largest payload, in bytes of UTF-8."""
    default_queue: str = "default"
    default_priority: int = 0
    priorities: Mapping[str, int] = field(default_factory=dict)
    """Names of priorities: `{"urgent": -10, "bulk": 10}`. From the environment: the same as JSON."""
    queue_attributes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the jobs of a queue get that do not say it themselves: `{"high": {"priority": -10, "max_attempts": 3}}`.

    There are `priority`, `max_attempts`, `max_run_time` and `keep_failed`. From the environment: the same as JSON.
    """
    max_attempts: int = 25
    """How many failures end a job: 25 are 20 days of retries."""
    max_run_time: timedelta | None = timedelta(hours=4)
    """How long one attempt may run. None: for ever."""
    keep_succeeded: timedelta | bool = DAY
    """How long succeeded jobs stay in the history. True: for ever; False: they are deleted when they end."""
    keep_failed: timedelta | bool = 30 * DAY
    keep_cancelled: timedelta | bool = 30 * DAY
    max_succeeded: int = 1_000_000
    """At most so many succeeded jobs stay in the history."""
    delay_jobs: bool | Callable[..., bool] = True
    """Whether jobs are saved for workers. False: each runs where it is enqueued. A callable decides by draft."""
    unknown_task_limit: timedelta = DAY
    """How long a job whose code no worker has may wait before it fails."""
    log_arguments: bool = False
    """Whether log lines show the arguments of jobs."""
    redact: tuple[str, ...] = ("password", "passwd", "secret", "token", "api_key", "apikey", "authorization")
    """Arguments, fields and keys whose names contain one of these are shown as ***, in logs and by the commands."""
    store_timeout: timedelta | None = timedelta(seconds=30)
    """How long to wait for an answer of the database. None: for ever."""
    hints: bool = True
    """PostgreSQL only: whether workers are woken (by NOTIFY, which a prepared transaction may not contain)."""
    synchronous: str = "full"
    """SQLite only: `full` (an accepted job survives a power cut) or `normal` (it survives a crash)."""

    def __post_init__(self) -> None:
        check_name("prefix", self.prefix, LONGEST_PREFIX)
        if self.schema is not None:
            check_name("schema", self.schema, LONGEST_NAME)
        limits = 0 < self.payload_limit <= LARGEST_PAYLOAD
        check(limits, "payload_limit", self.payload_limit, f"a number of bytes from 1 to {LARGEST_PAYLOAD:,}")
        check(self.max_attempts > 0, "max_attempts", self.max_attempts, "a whole number above 0")
        in_range = self.store_timeout is None or timedelta() < self.store_timeout <= DAY
        check(in_range, "store_timeout", self.store_timeout, "a time above 0 and of at most a day, or None")
        check(self.synchronous in ("full", "normal"), "synchronous", self.synchronous, "full or normal")


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerConfig:
    """What a worker is told. Each setting may come from the environment as `BELAYED_` and its name in capitals."""

    queues: tuple[str, ...] = ("*",)
    """The queues to serve: names, `*` for all, `!name` for all but that."""
    min_priority: int | None = None
    max_priority: int | None = None
    processes: int = 1
    """How many child processes `belayed work` runs jobs in. 0: none, they run in the worker's own process."""
    threads: int = 5
    """How many `def` jobs run at once in each process."""
    async_slots: int = 100
    """How many `async def` jobs run at once in each process."""
    spare: bool = False
    """Whether to keep one more child process, with the application imported, for when one dies or is replaced."""
    max_jobs: int | None = None
    """After how many jobs a child process is replaced. None: never."""
    max_rss: int | None = None
    """At how many bytes of memory a child process is replaced. None: never."""
    poll_interval: timedelta = timedelta(seconds=5)
    """The longest time between two looks at the store while nothing wakes the worker."""
    read_ahead: int = 1000
    """The most jobs to claim at once."""
    beat: timedelta = timedelta(seconds=5)
    """How often the worker says that it is alive."""
    lapse: timedelta = timedelta(seconds=30)
    """After how long without a beat its claims lapse and other workers rescue its jobs."""
    exit_on_complete: bool = False
    """Whether the worker ends as soon as no job is ready. Scheduled jobs stay."""
    grace: timedelta = timedelta(seconds=25)
    """How long running jobs may go on after a stop."""
    kill_after: timedelta = timedelta(seconds=5)
    """How long a job may go on after it was told to stop, before its child process is ended."""
    name: str | None = None
    """For people. Default: the host's name and the process id."""
    health: str | None = None
    """Where `belayed work` answers /healthz and /readyz by HTTP: a port of the loopback address, or host:port."""

    def __post_init__(self) -> None:
        check(bool(self.queues), "queues", self.queues, "at least one queue, or *")
        fit = sum(map(len, self.queues)) <= 10_000 and all(queue.isprintable() for queue in self.queues)
        check(fit, "queues", self.queues, "names of queues, of at most 10,000 characters together")
        # There are no patterns: "mail*" would be served in silence, and no job of mail's would run.
        named = all(one == "*" or is_name(one.removeprefix("!")) for one in self.queues)
        check(named, "queues", self.queues, "names of queues as they are, * for all, or !name for all but that")
        named = self.name is None or (1 <= len(self.name) <= 200 and self.name.isprintable())
        check(named, "name", self.name, "a text of 1 to 200 characters, no control characters")
        check(self.processes >= 0, "processes", self.processes, "0 or more")
        check(self.max_jobs is None or self.max_jobs >= 1, "max_jobs", self.max_jobs, "1 or more")
        check(self.max_rss is None or self.max_rss >= 1 << 20, "max_rss", self.max_rss, "1 MiB or more")
        check(self.threads >= 1, "threads", self.threads, "1 or more")
        check(self.async_slots >= 1, "async_slots", self.async_slots, "1 or more")
        check(self.read_ahead >= 1, "read_ahead", self.read_ahead, "1 or more")
        check(self.beat > timedelta(), "beat", self.beat, "a time above 0")
        check(
            self.lapse >= 2 * self.beat,
            "lapse",
            self.lapse,
            f"at least twice the beat ({self.beat.total_seconds():g} s)",
        )
        check(self.poll_interval > timedelta(), "poll_interval", self.poll_interval, "a time above 0")
        check(self.grace >= timedelta(), "grace", self.grace, "a time of 0 or more")
        check(self.kill_after > timedelta(), "kill_after", self.kill_after, "a time above 0")


@dataclass(frozen=True, kw_only=True, slots=True)
class CappedConfig(WorkerConfig):
    """What a pool is told that says how many jobs run at once in each process: `threads`, of either kind together."""

    @property
    def at_once(self) -> int:
        """How many jobs run at once in all of its processes."""
        return self.processes * self.threads


def check_name(setting: str, name: str, longest: int) -> None:
    """Raise ConfigError for what is no part of a table's name, or too long for PostgreSQL, which would cut it."""
    takes = f"letters, digits and underscores, at most {longest} bytes"
    check(name.isidentifier() and len(name.encode()) <= longest, setting, name, takes)


def check(good: bool, name: str, value: object, takes: str) -> None:
    """Raise the ConfigError of a setting whose value is not *good*."""
    if not good:
        raise ConfigError(f"{name} (or BELAYED_{name.upper()}) is {without_secrets(repr(value))}: it takes {takes}")


def is_name(queue: str) -> bool:
    """Whether a queue might be called so."""
    return bool(queue) and not set(queue) & set("*!,")


C = TypeVar("C")


AT_ENQUEUE = ("priorities", "queue_attributes", "delay_jobs")
"""Settings that no worker needs."""


def as_plain(config: Any) -> dict[str, Any]:
    """The settings of *config* as JSON takes them, but for those that only an enqueue needs; times in seconds."""
    plain = {one.name: getattr(config, one.name) for one in fields(config) if one.name not in AT_ENQUEUE}
    return {name: {"s": one.total_seconds()} if isinstance(one, timedelta) else one for name, one in plain.items()}


def settings(
    kind: type[C],
    given: Mapping[str, Any],
    environ: Mapping[str, str] | None = None,
    *,
    also: Mapping[str, Sequence[str]] | None = None,
) -> C:
    """A Config or WorkerConfig from what was *given*, then the environment, then the defaults.

    *also* are more variables of a setting, which count unless they are empty.
    """
    environ = os.environ if environ is None else environ
    hints = get_type_hints(kind)
    if unknown := sorted(set(given) - set(hints)):
        near = nearest(unknown[0], hints)
        meant = f"; did you mean {near}?" if near else ""
        raise ConfigError(f"unknown setting {unknown[0]!r}: there are {', '.join(sorted(hints))}{meant}")
    check_variables(environ)
    values = {name: typed(name, value, hints[name]) for name, value in given.items()}
    for setting in fields(cast(Any, kind)):
        if setting.name in values:
            continue
        variable = f"BELAYED_{setting.name.upper()}"
        others = (also or {}).get(setting.name, ())
        found = variable if variable in environ else next((one for one in others if environ.get(one)), None)
        if found is not None:
            values[setting.name] = parsed(found, environ[found], hints[setting.name])
    return kind(**values)


def check_variables(environ: Mapping[str, str]) -> None:
    """Raise ConfigError for a variable whose name is nearly that of a setting: it would have no effect."""
    known = ["app", "pools", *(one.name for kind in (Config, WorkerConfig) for one in fields(kind))]
    for variable in environ:
        name = variable.removeprefix("BELAYED_").lower()
        # Others may have variables of their own, such as those that Kubernetes makes for a service called belayed.
        if name != variable.lower() and name not in known and (near := nearest(name, known, NEAR)):
            raise ConfigError(
                f"{variable} is set, and there is no such setting: did you mean BELAYED_{near.upper()}? "
                f"unset {variable}"
            )


NEAR = 0.75
"""How like a setting's name one is that is taken for a mistake, from 0 to 1."""


def typed(name: str, value: Any, hint: Any) -> Any:
    """*value* as the setting's type, or a ConfigError: a misspelt type is found at start-up, not in a worker."""
    kinds = tuple(get_origin(kind) or kind for kind in (get_args(hint) if isinstance(hint, UnionType) else (hint,)))
    if tuple in kinds and isinstance(value, Iterable):
        return (value,) if isinstance(value, str) else tuple(value)
    if timedelta in kinds and isinstance(value, str):
        return parsed(name, value, hint)
    if isinstance(value, bool) and bool not in kinds or not isinstance(value, kinds):
        wanted = " or ".join(kind.__name__ for kind in kinds if kind is not NoneType)
        shown = f"a {type(value).__name__}" if name == "url" else without_secrets(repr(value))
        raise ConfigError(f"{name} is {shown}: it takes a {wanted}{' or None' if NoneType in kinds else ''}")
    return value


def parsed(variable: str, text: str, hint: Any) -> Any:
    """The value that an environment variable's *text* stands for."""
    kinds = [get_origin(kind) or kind for kind in (get_args(hint) if isinstance(hint, UnionType) else (hint,))]
    word = text.strip()
    try:
        if NoneType in kinds and word.lower() in ("", "none"):
            return None
        if bool in kinds and word.lower() in ("true", "yes", "on", "false", "no", "off"):
            return word.lower() in ("true", "yes", "on")
        if timedelta in kinds:
            return duration(word)
        if Mapping in kinds:
            return json_object(word)
        if tuple in kinds:
            return listed(word)
        if int in kinds:
            return size(word) if variable.endswith("_RSS") else whole_number(word)
        if bool in kinds:
            raise ValueError("it takes true or false")
    except (ValueError, OverflowError) as error:
        raise ConfigError(without_secrets(f"{variable}={text!r}: {error}")) from None
    return word


@dataclass(frozen=True, slots=True)
class Address:
    """Where a store is: the dialect, and the file or connection URL for its driver."""

    dialect: str
    target: str
    url: str = field(default="", compare=False)
    """As it was read: the path of a file is in full, as a process may move to another folder."""

    def __repr__(self) -> str:
        return f"Address({self.dialect!r}, {self.shown!r})"

    @property
    def shown(self) -> str:
        """The target for people."""
        return self.target if self.dialect == "sqlite" else hidden(self.target)

    @property
    def is_missing(self) -> bool:
        """Whether it is a file that is not there."""
        return self.dialect == "sqlite" and self.target != MEMORY and not Path(self.target).exists()


def address(url: str) -> Address:
    """The address that *url* names, as SQLAlchemy and Heroku write them. Raises ConfigError."""
    found = SCHEME.match(url)
    if found is None:
        raise ConfigError(f"database URL {hidden(url)!r}: not a URL; write sqlite:///jobs.db or postgresql://host/name")
    if NOT_OF_URLS.search(url):
        raise ConfigError(f"database URL {hidden(url)!r}: control characters must be written as %0A and the like")
    name = found[0].partition("+")[0].lower()
    if name == "sqlite":
        path = sqlite_file(url)
        return Address("sqlite", path, url if path == MEMORY else f"{url.partition('://')[0]}:///{quote(path)}")
    if name in POSTGRESQL:
        return Address("postgresql", f"postgresql{url[found.end() :]}", url)
    raise ConfigError(f"database URL {hidden(url)!r}: unknown scheme {found[0]!r}; use sqlite or postgresql")


NOT_OF_URLS = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Characters that no URL has: drivers cut it short there, or quote it whole."""


def sqlite_file(url: str) -> str:
    """The path that an SQLite URL names: three slashes for a relative one, four for an absolute one.

    It comes in full, from the folder that the process is in now: a job or a program may move to another one later.
    """
    path = url.partition("://")[2]
    # No user, no parameters: SQLite has neither, and a path must not show what may be a password.
    # Nor its own URIs (`file:…`), which would name a file of that name, or memory that is not shared.
    odd = re.search(r"[?#]", path) or unquote(path[1:]).startswith("file:") or looks_like_login(path)
    if path and not path.startswith("/") or odd:
        raise ConfigError(
            f"database URL {hidden(url)!r}: write sqlite:///relative/file.db or sqlite:////absolute/file.db"
        )
    return in_full(unquote(path[1:]) or MEMORY)


def in_full(path: str) -> str:
    """The path of an SQLite file from the root on. Raises ConfigError if the process's folder is gone."""
    if path == MEMORY:
        return path
    try:
        # Not abspath, which takes `link/..` for nothing.
        return str(Path.cwd() / path)
    except OSError as error:
        raise ConfigError(
            f"the SQLite file {path!r} is relative, and this process's folder is gone: {error}"
        ) from error


def default_url(environ: Mapping[str, str] | None = None) -> str:
    """BELAYED_URL, or DATABASE_URL, or `belayed.db` beside the nearest pyproject.toml (without one: right here)."""
    environ = os.environ if environ is None else environ
    for variable in ("BELAYED_URL", "DATABASE_URL"):
        if environ.get(variable):
            return environ[variable]
    project = nearest_project()
    return f"sqlite:///{quote(str((project.parent if project else Path.cwd()) / 'belayed.db'))}"


def nearest_project() -> Path | None:
    """The pyproject.toml of this directory or the nearest above it."""
    here = Path.cwd()
    return next((path for folder in (here, *here.parents) if (path := folder / "pyproject.toml").is_file()), None)


class Current:
    """The `Jobs` of the program: what `configure()` set, or made from the environment when first asked for."""

    def __init__(self) -> None:
        self.jobs: Any = None
        self.make: Callable[..., Any] | None = None
        self.lock = threading.Lock()

    def __call__(self) -> Any:
        if self.jobs is None:
            with self.lock:
                if self.jobs is None:
                    assert self.make is not None, "belayed.jobs sets it when it is imported"
                    self.jobs = self.make()
        return self.jobs


current = Current()
