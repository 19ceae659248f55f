"""What connections of ours are opened with: a URL, or parameters that the application gives for each of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from belayed.addresses import HARMLESS, HIDDEN, OTHERS, SECRETS, SHORTEST, quoting

CONNINFO = "conninfo"
"""The parameter of psycopg that is a URL or a text with several of libpq's."""
OF_PSYCOPG = ("autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory")
"""Parameters of psycopg that are about the application's own statements and rows."""


@dataclass(frozen=True, slots=True, repr=False)
class ConnectionParameters:
    """What a connection is opened with. Its values may be passwords, so only their names are shown."""

    given: Mapping[str, str] = field(default_factory=dict)
    """Of PostgreSQL: the parameters of libpq by their names, or a `conninfo`. Of SQLite: `database`."""
    role: str | None = None
    """Of PostgreSQL: the role that the session takes."""
    commands: tuple[str, ...] = ()
    """Of SQLite: the statements that each connection begins with."""

    def __repr__(self) -> str:
        role = f", role={self.role!r}" if self.role else ""
        commands = f", {len(self.commands)} commands" if self.commands else ""
        return f"<ConnectionParameters {', '.join(self.given)}{role}{commands}>"

    @property
    def uri(self) -> str | None:
        """Of SQLite: the URI of the file, which may say more than its path."""
        name = self.given.get("database", "")
        return name if name.startswith("file:") else None

    def quoting(self, message: str) -> str | None:
        """What a driver says of them, without their secrets; None if it may quote a part of one unrecognised."""
        said = quoting(message, self.given[CONNINFO]) if CONNINFO in self.given else message
        if said is None:
            return None
        secrets = [text for name, text in self.given.items() if may_be_secret(name) and len(text) >= SHORTEST]
        for text in sorted(secrets, key=len, reverse=True):
            said = said.replace(text, HIDDEN)
        return said


def may_be_secret(name: str) -> bool:
    """Whether the value of a parameter may be a secret: it may where nobody knows the name."""
    return name in SECRETS or name not in HARMLESS | OTHERS


NONE = ConnectionParameters()
"""None beside the address."""
Source = Callable[[], ConnectionParameters]
"""Says what the next connection is opened with. Raises ConfigError and StoreUnavailable."""


def of_url(url: str) -> ConnectionParameters:
    """The parameters that a URL of PostgreSQL says."""
    return ConnectionParameters({CONNINFO: url})


def of_driver(
    given: Mapping[str, Any], *, role: str | None = None, commands: tuple[str, ...] = ()
) -> ConnectionParameters:
    """What the application gives its driver, as texts.

    Also what is not known here: an option that secures the connection must not be lost because it is a new one.
    """
    texts = {name: str(value) for name, value in given.items() if value is not None and name not in OF_PSYCOPG}
    return ConnectionParameters(texts, role, commands)
