"""Database URLs for people to read: nothing that may be a password, whatever shape the URL has.

A URL is put together again from the parts that are known to be harmless. What cannot be read with certainty is left
out: a password may hold any of `:/?#@%`, and then the rest of it looks like a host, a database or a parameter.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote

LEFT_OUT = "…"
HIDDEN = "***"
"""What stands where a password is, or may be."""

SCHEME = re.compile(r"[A-Za-z]+(?:\+\w+)?(?=://)", re.ASCII)
POSTGRESQL = ("postgresql", "postgres")
USER = re.compile(r"[\w.+-]+")
HOST = re.compile(r"\[[0-9A-Fa-f:.]+(?:%\w+)?\]|/[\w./-]*|[\w.,-]*")
NAME = re.compile(r"[\w.+ -]+")
"""The name of a database, and the value of a harmless parameter."""
BROKEN_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
HARMLESS = frozenset({
    "application_name", "channel_binding", "connect_timeout", "dbname", "fallback_application_name", "gssencmode",
    "host", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval",
    "load_balance_hosts", "port", "sslmode", "target_session_attrs", "tcp_user_timeout", "user",
})  # fmt: skip
"""The parameters whose values are shown."""
OTHERS = frozenset({
    "client_encoding", "gssdelegation", "gsslib", "krbsrvname", "max_protocol_version", "min_protocol_version",
    "oauth_client_id", "oauth_client_secret", "oauth_issuer", "oauth_scope", "options", "passfile", "password",
    "replication", "require_auth", "requirepeer", "scram_client_key", "scram_server_key", "service", "servicefile",
    "ssl_max_protocol_version", "ssl_min_protocol_version", "sslcert", "sslcertmode", "sslcompression", "sslcrl",
    "sslcrldir", "sslkey", "sslkeylogfile", "sslnegotiation", "sslpassword", "sslrootcert", "sslsni",
})  # fmt: skip
"""The other parameters that libpq has: their values are not shown."""
SECRETS = frozenset({
    "oauth_client_secret", "options", "password", "scram_client_key", "scram_server_key", "sslpassword",
})  # fmt: skip
"""Those of them that may be secrets by themselves: the others are hidden as a URL may be read in several ways."""


class Shown(NamedTuple):
    """A URL for people."""

    text: str
    sure: bool
    """Whether the driver can only read it as we do. If not, its error messages may quote a part of the password."""
    secrets: tuple[str, ...] = ()
    """What is not shown, as written and as the driver reads it."""


class Unsure(Exception):
    """It can be read in several ways."""


def hidden(url: str) -> str:
    """*url* without anything that may be a secret."""
    return shown(url).text


def shown(url: str) -> Shown:
    """*url* for people, and whether there is only one way to read it."""
    found = SCHEME.match(url)
    if found is None:
        return Shown(LEFT_OUT, sure=False)
    scheme, rest = found[0], url[found.end() + len("://") :]
    name = scheme.partition("+")[0].lower()
    try:
        if name == "sqlite":
            return Shown(f"{scheme}://{file_part(rest)}", sure=True)
        if name in POSTGRESQL:
            text, secrets = server_part(rest)
            return Shown(f"{scheme}://{text}", True, secrets)
    except Unsure:
        pass
    return Shown(f"{scheme}://{LEFT_OUT}", sure=False)


def file_part(rest: str) -> str:
    """The file of an SQLite URL. It takes no user and no parameters: whatever stands there instead is not shown."""
    path, mark, _ = re.split(r"([?#])", rest, maxsplit=1) if re.search(r"[?#]", rest) else (rest, "", "")
    if looks_like_login(rest) or not path.startswith("/") and path:
        raise Unsure
    return f"{path}{mark}{LEFT_OUT if mark else ''}"


def looks_like_login(path: str) -> bool:
    """Whether a path has a user and a password in it, as in `sqlite:///ada:secret@/file.db`."""
    return re.search(r":.*@", unquote(path), re.DOTALL) is not None


def server_part(rest: str) -> tuple[str, tuple[str, ...]]:
    """What follows `postgresql://`, and its secrets. Raises Unsure.

    The grammar is that of libpq (conninfo_uri_parse_options): the user ends at the first @ before the first /.
    """
    if BROKEN_PERCENT.search(rest) or " " in rest or not rest.isprintable() or not decodable(rest):
        raise Unsure
    place, mark, query = rest.partition("?")
    login, at, place = place.rpartition("@") if "@" in rest.partition("/")[0] else ("", "", place)
    # A second @, or one after the first / or ?: the password may reach up to it.
    if "@" in login or "@" in place or "@" in query:
        raise Unsure
    user, colon, password = login.partition(":")
    hosts, slash, database = place.partition("/")
    who = user if not user or USER.fullmatch(unquote(user)) else HIDDEN
    text = f"{who}{colon}{HIDDEN if colon else ''}{at}{checked_hosts(hosts)}{slash}{checked_name(database)}"
    parameters, more = query_part(query)
    return f"{text}{mark}{parameters}", with_plain([password, *([] if who == user else [user]), *more])


def decodable(text: str) -> bool:
    """Whether what is percent-encoded is UTF-8."""
    try:
        unquote(text, errors="strict")
    except UnicodeDecodeError:
        return False
    return True


def checked_hosts(hosts: str) -> str:
    """The hosts and ports of a URL, which may be several. Raises Unsure."""
    for one in hosts.split(","):
        found = re.fullmatch(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{0,5}))?", one)
        if found is None or not HOST.fullmatch(unquote(found[1])) or int(found[2] or 0) > 65535:
            raise Unsure
    return hosts


def checked_name(database: str) -> str:
    """The name of a database. Raises Unsure for one with characters that names seldom have."""
    if database and not NAME.fullmatch(unquote(database)):
        raise Unsure
    return database


def query_part(query: str) -> tuple[str, list[str]]:
    """The parameters of a URL, and the values that are not shown. Raises Unsure."""
    shown, values = [], []
    for part in query.split("&") if query else ():
        key, equals, value = part.partition("=")
        if not equals or key not in HARMLESS | OTHERS:
            # It may be the end of a password that has an & in it.
            raise Unsure
        plain = unquote(value)
        clean = HOST.fullmatch(plain) if key == "host" else NAME.fullmatch(plain)
        if key in HARMLESS and (clean or not value):
            shown.append(part)
        else:
            shown.append(f"{key}={HIDDEN}")
            values.append(value)
    return "&".join(shown), values


def with_plain(values: list[str]) -> tuple[str, ...]:
    """These as they are written, and as they are read, the longest first."""
    both = {text for value in values for text in (value, unquote(value)) if text}
    return tuple(sorted(both, key=len, reverse=True))


SHORTEST = 4
"""Characters of a secret that are looked for in a message: shorter ones are part of ordinary words."""


def quoting(message: str, url: str) -> str | None:
    """What a driver says of *url*, without its secrets; None if it may quote a part of one unrecognised."""
    found = shown(url)
    if not found.sure:
        return None
    for secret in found.secrets:
        if len(secret) >= SHORTEST and secret not in found.text:
            message = message.replace(secret, HIDDEN)
    return message


ANY_URL = re.compile(
    # In quotes; of a database, up to the last @ of the line, as a password may have spaces; or any other. Repetitions
    # that begin anywhere are bounded: a text of one long word must not take the square of its length.
    r"(?<=')\w[\w+.-]{0,40}://[^'\n]*(?=')|(?<=\")\w[\w+.-]{0,40}://[^\"\n]*(?=\")"
    r"|(?i:postgres(?:ql)?|sqlite)(?:\+\w{1,40})?://(?:[^\n]*@)?[^\s'\"`,;)>]*"
    r"|\w[\w+.-]{0,40}://[^\s'\"`<>]*"
)
"""A URL somewhere in a text."""
ANY_PASSWORD = re.compile(
    r"(?i)((?:password|passwd|passphrase|secret)\w{0,40}['\"]?(?:=(?!=)|:\s)\s{0,40})"
    r"('[^'\n]*'?|\"[^\"\n]*\"?|[^\s'\",;&)]+)"
)
"""A password somewhere in a text, as in `host=db password='a b'`."""


def without_secrets(text: str) -> str:
    """A text that may quote database URLs or passwords, such as the source line of an error, without them."""
    text = ANY_URL.sub(lambda found: hidden_or_plain(found[0]), text)
    return ANY_PASSWORD.sub(lambda found: f"{found[1]}{HIDDEN}", text)


def hidden_or_plain(url: str) -> str:
    """*url* as it may be shown; one that is not of a database and has no login is left as it is."""
    scheme = url.partition("://")[0].partition("+")[0].lower()
    return hidden(url) if scheme in (*POSTGRESQL, "sqlite") or "@" in url else url
