"""Mail by jobs: an email backend that queues every mail, and the task that delivers one through the real backend."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping
from email import message_from_bytes, policy
from email.mime.base import MIMEBase
from typing import Any, cast

import django
from django.conf import settings
from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.utils.module_loading import import_string

from belayed.config import current
from belayed.django import conf
from belayed.errors import BrokenPayload, ConfigError, NotSerializable, UntrustedPayload
from belayed.retry import Fail
from belayed.safelog import log
from belayed.tasks import Task, registered
from belayed.trust import name_of, resolve

SMTP = "django.core.mail.backends.smtp.EmailBackend"
ALTERNATIVE = "alternatives"
DJANGOS = {name_of(kind): kind for kind in (EmailMessage, mail.EmailMultiAlternatives)}
NOT_KEPT = ("connection", "_connection", "attachments", ALTERNATIVE)
"""Attributes of a message that do not travel as they are."""
MAILERS = django.VERSION >= (6, 1)
"""Whether Django has the setting MAILERS."""


class UntrustedMail(Fail, UntrustedPayload):
    """A saved mail names code that workers may not run: its job fails at once, and is kept."""


class BrokenMail(Fail, BrokenPayload):
    """A saved mail is not what Belayed writes: its job fails at once, and is kept."""


class EmailBackend(BaseEmailBackend):
    """Queues each mail as a job, to be sent by a worker through another backend, with retries.

    In MAILERS its OPTIONS name that mailer, `using`, and the jobs' `queue` and `priority`. Without MAILERS the setting
    BELAYED does: `MAIL_USING` (a backend's path, by default Django's for SMTP) and `MAIL_QUEUE`.
    """

    def __init__(
        self,
        fail_silently: bool = False,
        *,
        alias: str | None = None,
        using: str | None = None,
        queue: str | None = None,
        priority: int | str | None = None,
        username: str | None = None,
        password: str | None = None,
        **options: Any,
    ) -> None:
        login = {name: value for name, value in (("username", username), ("password", password)) if value is not None}
        if MAILERS:
            super().__init__(alias=alias, **login, **options)
        else:
            super().__init__(fail_silently=fail_silently, **login, **options)
        self.fail_silently = fail_silently
        conf.require_installed("belayed.django.EmailBackend")
        self.queue, self.priority = queue or conf.given().get("MAIL_QUEUE"), priority
        self.using = behind(using)
        if using is not None and using != self.using:
            itself = " to itself" if using == alias else ""
            raise ConfigError(
                f"using={using!r}: a worker would not send{itself} by it, but by {self.using!r}, as the settings say; "
                + ("name a mailer in MAILERS that is not Belayed's" if mailers() else "set BELAYED = {'MAIL_USING': …}")
            )

    def send_messages(self, email_messages: Any) -> int:
        """Save a job for each message, in the open transaction; how many it was."""
        chosen: Any = {"queue": self.queue, "priority": self.priority}
        task = deliver.using(**{name: value for name, value in chosen.items() if value is not None})
        try:
            # Without MAILERS there is one way out, which the settings say: the row need not.
            using = (self.using,) if mailers() else ()
            drafts = [task.draft(taken(message), *using) for message in email_messages if message.recipients()]
            return len(current().enqueue_many(drafts)) if drafts else 0
        except Exception:
            if not self.fail_silently:
                raise
            # Whoever sends it does not want to hear of it; but nobody will try again.
            log.exception("a mail was not queued, and will not be sent")
            return 0


def taken(message: EmailMessage) -> dict[str, Any]:
    """All of a message that a worker needs to send it, also what other packages have put on it."""
    # What is wrong with its headers is said here, not in a worker.
    message.message()
    name = name_of(type(message))
    if name not in DJANGOS:
        current().trust.require(name)
    kept = {name: plain(value) for name, value in vars(message).items() if name not in NOT_KEPT}
    if odd := stand_ins(type(message), kept):
        raise NotSerializable(
            "the mail", f"its attribute {odd[0]} is code", "write a class of mails of your own that has it as a method"
        )
    return {
        "class": name,
        "attributes": kept,
        "alternatives": [[plain(one[0]), plain(one[1])] for one in getattr(message, ALTERNATIVE, ())],
        "attachments": [attached(one) for one in message.attachments],
    }


def plain(value: Any) -> Any:
    """Text of any class as just text, and bytes as just bytes, also in lists and headers: no more than that is sent."""
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(memoryview(value))
    if type(value) in (list, tuple):
        return type(value)(map(plain, value))
    if type(value) is dict:
        return {plain(key): plain(one) for key, one in value.items()}
    return value


def attached(one: Any) -> dict[str, Any]:
    """An attachment: a part of its own, or a name, its content and a type."""
    if isinstance(one, MIMEBase) or hasattr(one, "as_bytes"):
        return {"part": one.as_bytes()}
    name, content, mimetype = map(plain, (one[0], one[1], one[2] if len(one) > 2 else None))
    if hasattr(content, "as_bytes"):
        return {"name": name, "message": content.as_bytes(), "mimetype": mimetype}
    if isinstance(content, EmailMessage):
        return {"name": name, "message": content.message().as_bytes(), "mimetype": mimetype}
    return {"name": name, "content": content, "mimetype": mimetype}


def rebuilt(found: Any) -> EmailMessage:
    """The message that was taken apart. Raises UntrustedMail, BrokenMail, or UnknownTask for a class not known here."""
    try:
        return put_together(kind_of(found["class"]), found)
    except UntrustedPayload as error:
        raise UntrustedMail(str(error)) from error
    except (BrokenPayload, LookupError, TypeError, ValueError, AttributeError) as error:
        raise BrokenMail(f"this is no mail that Belayed has saved ({type(error).__name__}: {error})") from error


def kind_of(name: Any) -> type[EmailMessage]:
    """The class of a message by its name: Django's, or one that is trusted."""
    kind: Any = DJANGOS.get(name) or resolve(name, current().trust)
    if not (isinstance(kind, type) and issubclass(kind, EmailMessage)):
        raise UntrustedPayload(f"{name} is not a subclass of EmailMessage")
    return kind


def put_together(kind: type[EmailMessage], found: dict[str, Any]) -> EmailMessage:
    """A message of a class, with all that was saved of it."""
    attributes = dict(found["attributes"])
    if odd := stand_ins(kind, attributes):
        raise UntrustedPayload(f"the attribute {odd[0]} of a saved mail is code, or stands in for a method")
    message: Any = object.__new__(kind)
    # The attribute's name changed with Django 6.1.
    message.__dict__.update(copy.deepcopy(attributes), connection=None, _connection=None)
    message.attachments = []
    for one in found["attachments"]:
        if "part" in one:
            message.attachments.append(part_of(one["part"]))
        elif "message" in one:
            message.attach(one["name"], message_from_bytes(one["message"]), one["mimetype"] or "message/rfc822")
        else:
            message.attach(one["name"], one["content"], one["mimetype"])
    if found["alternatives"] or hasattr(kind, "attach_alternative"):
        message.alternatives = []
        for content, mimetype in found["alternatives"]:
            message.attach_alternative(content, mimetype)
    return cast(EmailMessage, message)


def stand_ins(kind: type, attributes: dict[str, Any]) -> list[str]:
    """The attributes of a message that would be called: those with a method's name, and those that are code."""
    return [name for name, value in attributes.items() if callable(value) or is_code(kind, name)]


def is_code(kind: type, name: Any) -> bool:
    """Whether a class has a method, or Python an attribute of its own, by this name."""
    if not isinstance(name, str) or name.startswith("__"):
        return True
    # Not getattr, which asks the descriptors of the class.
    raw = inspect.getattr_static(kind, name, None)
    return callable(raw) or isinstance(raw, classmethod)


def part_of(content: bytes) -> Any:
    """A part of a message, of the class that this Django takes."""
    if MODERN:
        return message_from_bytes(content, policy=policy.default)
    part = message_from_bytes(content)
    old = MIMEBase(part.get_content_maintype(), part.get_content_subtype())
    old.__dict__.update(part.__dict__)
    return old


MODERN = django.VERSION >= (6, 0)
"""Whether attachments are of Python's newer classes of messages."""


def deliver_mail(message: dict[str, Any], using: object = None) -> int:
    """Send a mail through the backend or the mailer of the settings; how many it was.

    *using* chooses among the mailers that settings name for this, and imports nothing.
    """
    mail_, name = rebuilt(message), behind(using)
    connection = mail.mailers[name] if mailers() else mail.get_connection(name)
    return int(connection.send_messages([mail_]) or 0)


def behind(wanted: object = None) -> str:
    """What mails are really sent by: a backend's path in MAIL_USING, or *wanted* if a mailer of ours has it as `using`.

    Else the one of the default mailer, or of the first. Raises ConfigError.
    """
    given, found = conf.given().get("MAIL_USING"), mailers()
    if not found:
        if is_ours({"BACKEND": given or SMTP}):
            raise ConfigError(
                f"BELAYED['MAIL_USING'] is {given!r}, which would send its mails to itself, for ever: name the backend "
                f"that workers send them by, such as {SMTP!r}"
            )
        return str(given or SMTP)
    ours = {alias: entry.get("OPTIONS", {}).get("using") or given for alias, entry in found.items() if is_ours(entry)}
    # Not one of ours: its mails would be jobs again, for ever.
    names = [name for name in ours.values() if name in found and name not in ours]
    if wanted in names:
        return str(wanted)
    if (usual := ours.get("default", "default")) in names or (not ours and usual in found):
        return str(usual)
    if not names:
        raise ConfigError(
            "a mailer of Belayed's in MAILERS would send its mails to itself: let 'using' in its OPTIONS name one that "
            "is not Belayed's"
        )
    return str(names[0])


def mailers() -> Mapping[str, Any]:
    """The setting MAILERS; empty before Django 6.1, and where it is not used."""
    return (getattr(settings, "MAILERS", None) or {}) if MAILERS else {}


def is_ours(mailer: Mapping[str, Any]) -> bool:
    """Whether a mailer of the settings makes jobs of its mails."""
    path = mailer.get("BACKEND", SMTP)
    try:
        kind = import_string(path)
    except ImportError as error:
        raise ConfigError(f"the email backend {path!r} cannot be imported: {error}") from error
    return isinstance(kind, type) and issubclass(kind, EmailBackend)


def problems() -> list[str]:
    """What keeps mails from being sent though they are jobs: said before one is."""
    found = []
    alone = {"BACKEND": getattr(settings, "EMAIL_BACKEND", SMTP)}
    ways: list[tuple[str | None, Any]] = [*mailers().items()] or [(None, alone)]
    for alias, entry in ways:
        path = entry.get("BACKEND", SMTP)
        try:
            if is_belayeds(path) and is_ours(entry):
                check_way_out(alias, entry.get("OPTIONS", {}).get("using"))
        except (ConfigError, TypeError) as error:
            found.append(str(error))
    return found


def is_belayeds(path: Any) -> bool:
    """Whether a backend seems to be one of ours: also a misspelt one is, and one of others' is only if it imports."""
    if str(path).startswith("belayed."):
        return True
    try:
        return is_ours({"BACKEND": path})
    except ConfigError:
        # Django says it.
        return False


def check_way_out(alias: str | None, using: str | None) -> None:
    """Raise ConfigError if what a backend of ours sends mails by is not there, or is ours."""
    if alias is None:
        behind()
        return
    mail.mailers[alias]
    is_ours(mailers()[behind(using)])


deliver: Task[..., int] = registered(Task(deliver_mail, name="belayed.django.deliver_mail"))


def refuse(_message: EmailMessage) -> Any:
    """A mail that is built is not for delay(), nor an argument."""
    raise NotSerializable(
        "the mail",
        "it is built already, and would be sent as it was",
        "send() it with belayed.django.EmailBackend as the backend, or delay a function that builds and sends one",
    )
