"""Loads the SQL catalogues: named statements with `:name` binds, in the placeholder styles of the drivers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from math import inf

from belayed.errors import ConfigError
from belayed.steps import Statement

BIND = re.compile(r"(?<![:\w]):([a-z_]+)")
HEADING = re.compile(r"^-- (name|part): (\w+)\s*$", re.MULTILINE)
COMMENT = re.compile(r"^\s*--.*\n?", re.MULTILINE)
ENDED = re.compile(r";\s*$", re.MULTILINE)
APPLIED = re.compile(r"\{(\w+):([^{}]+)\}")
"""A part that is about something, such as `{utc:run_at}`: within the part it is `{it}`."""


NAMES = (
    *("jobs", "history", "attempts", "workers", "queues", "versions"),
    *("instant", "span", "label", "small", "brief", "body", "live_state", "end_state", "outcome"),
)
"""The tables, and PostgreSQL's domains: what may stand in their columns."""


@dataclass(frozen=True, slots=True)
class Tables:
    """What the tables are called: an optional schema, and a prefix."""

    prefix: str = "belayed_"
    schema: str | None = None

    def named(self, name: str) -> str:
        """The quoted name of a table or a domain, with its schema."""
        table = f'"{self.prefix}{name}"'
        return f'"{self.schema}".{table}' if self.schema else table

    def fill(self, text: str) -> str:
        """*text* with its `{jobs}`-style names put in."""
        for name in NAMES:
            text = text.replace(f"{{{name}}}", self.named(name))
        return text.replace("{schema}", f'"{self.schema}"').replace("{prefix}", self.prefix)


KEPT = {"insert": inf, "insert_ready": inf, "insert_told": inf, "claim": 60.0}
"""Statements that are asked alone, once for each job, and for how many seconds their plans may be kept: planning one
anew each time costs half of it. The plan of a claim depends on how large the table is, which a kept one would not see
grow before the next ANALYZE."""

Catalogue = dict[str, tuple[Statement, ...]]


@cache
def catalogue(dialect: str, tables: Tables) -> Catalogue:
    """The statements of *dialect* by name. A name may stand for several: they run in order, the last one answers."""
    text = files("belayed.store").joinpath("sql", f"{dialect}.sql").read_text("utf-8")
    pieces = HEADING.split(text)
    if pieces[0].strip() and COMMENT.sub("", pieces[0]).strip():
        raise ConfigError(f"{dialect}.sql: text before the first name")
    mark = "?" if dialect == "sqlite" else "$"
    parts: dict[str, str] = {}
    found: Catalogue = {}
    for kind, name, body in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        code = COMMENT.sub("", body).strip()
        for part, value in parts.items():
            code = code.replace(f"{{{part}}}", value)
        code = APPLIED.sub(lambda match: parts[match[1]].replace("{it}", match[2]), code)
        if kind == "part":
            parts[name] = code
        elif name in found:
            raise ConfigError(f"{dialect}.sql: the name {name} stands twice")
        else:
            found[name] = tuple(statement(name, tables.fill(one), mark) for one in split(code))
    return found


def split(code: str) -> list[str]:
    """The statements of *code*: each ends with a semicolon at the end of a line."""
    return [one.strip() for one in ENDED.split(code) if one.strip()]


def statement(name: str, text: str, mark: str = "$") -> Statement:
    """*text* in each placeholder style; *mark* is what stands before a number."""
    order: list[str] = []

    def numbered(match: re.Match[str]) -> str:
        if match[1] not in order:
            order.append(match[1])
        return f"{mark}{order.index(match[1]) + 1}"

    numeric = BIND.sub(numbered, text)
    pyformat = BIND.sub(r"%(\1)s", text.replace("%", "%%"))
    return Statement(name, text, pyformat, numeric, tuple(order), KEPT.get(name, 0.0))
