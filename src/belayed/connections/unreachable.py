"""Errors of connections that could not be opened, without the passwords that a driver may quote in them."""

from __future__ import annotations

import psycopg

from belayed.addresses import hidden, quoting
from belayed.errors import ConfigError, StoreUnavailable


def unreachable(error: Exception, url: str) -> StoreUnavailable | ConfigError:
    """The error of ours for a connection that could not be opened."""
    text = quoting(str(error).strip() or type(error).__name__, url)
    if text is None:
        text = f"{UNSAID} ({hidden(url)})"
    if isinstance(error, psycopg.ProgrammingError | UnicodeError):
        return ConfigError(f"the database URL is not one that PostgreSQL understands: {text}")
    return StoreUnavailable(f"cannot connect to PostgreSQL: {text}")


UNSAID = (
    "why is not said here, as it may quote the password; in the user, the password and parameters of a URL write @ as "
    "%40, / as %2F, ? as %3F, & as %26 and % as %25; a port is a number, and the parameters are those of libpq"
)


def quotable(error: Exception, url: str) -> Exception | None:
    """The error as a cause, which is printed with a traceback; None where it may quote a password."""
    return error if quoting(str(error), url) == str(error) else None
