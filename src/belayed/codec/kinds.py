"""Values without parts (times, numbers, bytes, paths …): their plain JSON forms, and back."""

from __future__ import annotations

import base64
import math
import sys
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, IPv6Address, IPv6Interface, IPv6Network
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any, TypeVar, cast
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from belayed.codec.refusals import Refused
from belayed.errors import UnknownPayload

T = TypeVar("T")


def check_text(text: str) -> None:
    """Refuse lone surrogates: no database stores them as text."""
    if text.isascii():
        return
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused(
            f"the text has a lone surrogate, {text[error.start]!a}, at index {error.start}",
            "pass bytes, such as os.fsencode(x), or mend it where it was decoded",
        ) from None


def check_int(number: int) -> None:
    """Refuse what neither str() nor json will print."""
    # 2**1000 has 302 digits; Python's limit cannot be set below 640.
    if number.bit_length() <= 1000:
        return
    try:
        str(number)
    except ValueError:
        limit = sys.get_int_max_str_digits()
        raise Refused(f"the number has more than {limit} digits", "pass hex(x), and int(x, 16) in the job") from None


def check_float(number: float) -> None:
    """Refuse NaN and the infinities, which JSON has not."""
    if not math.isfinite(number):
        raise Refused(f"{number} is not a number that JSON has", "pass None, or a finite number")


def expect(kind: type[T], plain: object) -> T:
    """*plain*, which must be exactly a *kind*; else TypeError."""
    if type(plain) is not kind:
        raise TypeError(f"{kind.__name__} expected, not {type(plain).__name__}")
    return plain


def _moment_to_plain(value: datetime | time) -> Any:
    zone = value.tzinfo
    if zone is not None and type(zone) not in (timezone, ZoneInfo):
        value = _at_home(value, zone)
        zone = value.tzinfo
    if not value.fold and (zone is None or (type(zone) is timezone and _is_plain(zone))):
        return value.isoformat()
    # The wall time and the zone, never an instant: gaps, folds and later changes of the zone's rules all keep it.
    return [value.replace(tzinfo=None, fold=0).isoformat(), _zone_to_plain(zone), value.fold]


def _moment_from_plain(kind: type[datetime | time]) -> Callable[[Any], object]:
    def from_plain(plain: Any) -> object:
        if type(plain) is str:
            return kind.fromisoformat(plain)
        wall, zone, fold = expect(list, plain)
        return kind.fromisoformat(expect(str, wall)).replace(tzinfo=_zone_from_plain(zone), fold=expect(int, fold))

    return from_plain


def _at_home(value: Any, zone: tzinfo) -> datetime | time:
    """The same wall time, and instant, in a zone of the standard library, for *zone*, which another library made."""
    for known in _kin(zone):
        for fold in (value.fold, 1 - value.fold):
            moved: datetime | time = value.replace(tzinfo=known, fold=fold)
            if moved.utcoffset() == value.utcoffset():
                return moved
    return cast("datetime | time", value)


def _kin(zone: tzinfo) -> Iterator[tzinfo]:
    """Zones of the standard library that may be the same as *zone*."""
    try:
        offset = zone.utcoffset(None)
    except Exception:
        # Some need a time.
        offset = None
    if type(offset) is timedelta:
        yield timezone(offset)
    # The name is `key` as in zoneinfo, whose subclasses some libraries have, or `zone` as in pytz.
    for key in (getattr(zone, "key", None), getattr(zone, "zone", None)):
        try:
            if key and isinstance(key, str):
                yield ZoneInfo(key)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            pass


def _is_plain(zone: timezone) -> bool:
    # Python reads an offset of less than a second back as UTC.
    return not _name_of_offset(zone) and not zone.utcoffset(None).microseconds


def _name_of_offset(zone: timezone) -> str | None:
    name = zone.tzname(None)
    return None if name == timezone(zone.utcoffset(None)).tzname(None) else name


def _zone_to_plain(zone: tzinfo | None) -> Any:
    if zone is None:
        return None
    if type(zone) is timezone:
        offset = datetime(2000, 1, 1, tzinfo=zone).isoformat()[19:]
        name = _name_of_offset(zone)
        check_text(name or "")
        return [offset, name] if name else offset
    key = zone.key if type(zone) is ZoneInfo else None
    try:
        if key:
            ZoneInfo(key)
            return key
    except (ZoneInfoNotFoundError, ValueError, OSError):
        pass
    raise Refused(
        f"its time zone is {zone!r}, which has no name that a worker could find",
        "use zoneinfo.ZoneInfo('…') or datetime.timezone, or pass x.astimezone(UTC)",
    )


def _zone_from_text(plain: Any) -> tzinfo:
    zone = _zone_from_plain(plain)
    if zone is None:
        raise ValueError("there is no zone")
    return zone


def _ip_to_plain(value: Any) -> list[str]:
    return [type(value).__name__, str(value)]


def _ip_from_plain(plain: Any) -> object:
    kind, text = expect(list, plain)
    return _ADDRESSES[expect(str, kind)](expect(str, text))


def _zone_from_plain(plain: Any) -> tzinfo | None:
    if plain is None:
        return None
    if type(plain) is list:
        written, name = plain
        fixed = _zone_from_plain(written)
        if type(fixed) is not timezone:
            raise ValueError(f"{written!r} is not an offset")
        return timezone(fixed.utcoffset(None), expect(str, name))
    if expect(str, plain)[:1] in ("+", "-"):
        hours, minutes, *seconds = plain[1:].split(":")
        offset = timedelta(hours=int(hours), minutes=int(minutes), seconds=float(seconds[0]) if seconds else 0)
        return timezone(-offset if plain[0] == "-" else offset)
    try:
        return ZoneInfo(plain)
    except ZoneInfoNotFoundError as error:
        raise UnknownPayload(f"this worker knows no time zone {plain!r}; install the tzdata package there") from error
    # What is a directory there, or no file's name at all.
    except OSError as error:
        raise ValueError(f"{plain!r} is not a time zone") from error


def _date_from_plain(plain: Any, read: Callable[[str], date] = date.fromisoformat) -> date:
    # Libraries that freeze the time put a class of theirs in the place of `date`.
    return read(expect(str, plain))


def _timedelta_from_plain(plain: Any) -> timedelta:
    days, seconds, microseconds = (expect(int, part) for part in expect(list, plain))
    return timedelta(days, seconds, microseconds)


def _decimal_to_plain(value: Decimal) -> str:
    if value.is_nan():
        raise Refused(f"{value} is equal to nothing, not even to itself", "pass None, or a number")
    return str(value)


def _decimal_from_plain(plain: Any) -> Decimal:
    value = Decimal(expect(str, plain))
    if value.is_nan():
        raise ValueError(f"{plain!r} is not a number")
    return value


def _path_to_plain(value: PurePath) -> list[str]:
    text = str(value)
    check_text(text)
    return ["Path" if isinstance(value, Path) else type(value).__name__, text]


def _path_from_plain(plain: Any) -> PurePath:
    flavour, text = expect(list, plain)
    return _PATHS[expect(str, flavour)](expect(str, text))


_ADDRESSES: dict[str, type] = {
    kind.__name__: kind for kind in (IPv4Address, IPv6Address, IPv4Network, IPv6Network, IPv4Interface, IPv6Interface)
}
_PATHS: dict[str, type[PurePath]] = {
    "Path": Path,
    "PurePosixPath": PurePosixPath,
    "PureWindowsPath": PureWindowsPath,
}

TO_PLAIN: dict[type, tuple[str, Callable[[Any], Any]]] = {
    datetime: ("datetime", _moment_to_plain),
    date: ("date", date.isoformat),
    time: ("time", _moment_to_plain),
    timedelta: ("timedelta", lambda value: [value.days, value.seconds, value.microseconds]),
    UUID: ("uuid", str),
    Decimal: ("decimal", _decimal_to_plain),
    bytes: ("bytes", lambda value: base64.b64encode(value).decode()),
    timezone: ("zone", _zone_to_plain),
    ZoneInfo: ("zone", _zone_to_plain),
    **dict.fromkeys(_ADDRESSES.values(), ("ip", _ip_to_plain)),
    type(Path()): ("path", _path_to_plain),
    PurePosixPath: ("path", _path_to_plain),
    PureWindowsPath: ("path", _path_to_plain),
}
"""The tag of a type, and the plain form of its values."""

FROM_PLAIN: dict[str, Callable[[Any], object]] = {
    "datetime": _moment_from_plain(datetime),
    "date": _date_from_plain,
    "time": _moment_from_plain(time),
    "timedelta": _timedelta_from_plain,
    "uuid": lambda plain: UUID(expect(str, plain)),
    "decimal": _decimal_from_plain,
    "bytes": lambda plain: base64.b64decode(expect(str, plain), validate=True),
    "path": _path_from_plain,
    "zone": _zone_from_text,
    "ip": _ip_from_plain,
}
"""The value of a plain form, by its tag. Raises TypeError, ValueError, LookupError or ArithmeticError if it is none."""
