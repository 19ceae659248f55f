"""Errors of connections that could not be opened, without the passwords that a driver may quote in them."""

from __future__ import annotations

import psycopg

from belayed.addresses import hidden
from belayed.connections.parameters import CONNINFO, ConnectionParameters
from belayed.errors import ConfigError, StoreUnavailable


def unreachable(error: Exception, parameters: ConnectionParameters) -> StoreUnavailable | ConfigError:
    """The error of ours for a connection that could not be opened."""
    text = parameters.quoting(str(error).strip() or type(error).__name__)
    if text is None:
        text = f"{UNSAID} ({hidden(parameters.given[CONNINFO])})"
    if isinstance(error, psycopg.ProgrammingError | UnicodeError) and getattr(error, "sqlstate", None) is None:
        what = (
            "database URL is not one" if CONNINFO in parameters.given else "parameters of the connection are not such"
        )
        return ConfigError(f"the {what} that PostgreSQL understands: {text}")
    return StoreUnavailable(f"cannot connect to PostgreSQL: {text}")


UNSAID = (
    "why is not said here, as it may quote the password; in the user, the password and parameters of a URL write @ as "
    "%40, / as %2F, ? as %3F, & as %26 and % as %25; a port is a number, and the parameters are those of libpq"
)


def quotable(error: Exception, parameters: ConnectionParameters) -> Exception | None:
    """The error as a cause, which is printed with a traceback; None where it may quote a password."""
    return error if parameters.quoting(str(error)) == str(error) else None
