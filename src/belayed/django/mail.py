"""Mail by jobs: an email backend that queues every mail, and the task that delivers one through the real backend."""

from __future__ import annotations

import copy
from email import message_from_bytes, policy
from email.mime.base import MIMEBase
from typing import Any, cast

import django
from django.conf import settings
from django.core import mail
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend

from belayed.config import current
from belayed.django import conf
from belayed.errors import ConfigError, NotSerializable
from belayed.tasks import Task, registered
from belayed.trust import name_of, resolve

SMTP = "django.core.mail.backends.smtp.EmailBackend"
ALTERNATIVE = "alternatives"
DJANGOS = {name_of(kind): kind for kind in (EmailMessage, mail.EmailMultiAlternatives)}
NOT_KEPT = ("connection", "_connection", "attachments", ALTERNATIVE)
"""Attributes of a message that do not travel as they are."""
MAILERS = django.VERSION >= (6, 1)
"""Whether Django has the setting MAILERS."""


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
        given = conf.given()
        self.using = using or given.get("MAIL_USING") or SMTP
        self.queue, self.priority = queue or given.get("MAIL_QUEUE"), priority
        if alias is not None and self.using == alias:
            raise ConfigError(f"the mailer {alias!r} would send its mails to itself: let 'using' name another")

    def send_messages(self, email_messages: Any) -> int:
        """Save a job for each message, in the open transaction; how many it was."""
        chosen: Any = {"queue": self.queue, "priority": self.priority}
        task = deliver.using(**{name: value for name, value in chosen.items() if value is not None})
        try:
            drafts = [task.draft(taken(message), self.using) for message in email_messages if message.recipients()]
            return len(current().enqueue_many(drafts)) if drafts else 0
        except Exception:
            if not self.fail_silently:
                raise
            return 0


def taken(message: EmailMessage) -> dict[str, Any]:
    """All of a message that a worker needs to send it, also what other packages have put on it."""
    # What is wrong with its headers is said here, not in a worker.
    message.message()
    name = name_of(type(message))
    if name not in DJANGOS:
        current().trust.require(name)
    kept = {name: value for name, value in vars(message).items() if name not in NOT_KEPT}
    return {
        "class": name,
        "attributes": kept,
        "alternatives": [[one[0], one[1]] for one in getattr(message, ALTERNATIVE, ())],
        "attachments": [attached(one) for one in message.attachments],
    }


def attached(one: Any) -> dict[str, Any]:
    """An attachment: a part of its own, or a name, its content and a type."""
    if isinstance(one, MIMEBase) or hasattr(one, "as_bytes"):
        return {"part": one.as_bytes()}
    name, content, mimetype = one[0], one[1], one[2] if len(one) > 2 else None
    if hasattr(content, "as_bytes"):
        return {"name": name, "message": content.as_bytes(), "mimetype": mimetype}
    if isinstance(content, EmailMessage):
        return {"name": name, "message": content.message().as_bytes(), "mimetype": mimetype}
    return {"name": name, "content": content, "mimetype": mimetype}


def rebuilt(found: dict[str, Any]) -> EmailMessage:
    """The message that was taken apart. Its class must be one of messages, Django's or one that is trusted."""
    kind: Any = DJANGOS.get(found["class"]) or resolve(found["class"], current().trust)
    if not (isinstance(kind, type) and issubclass(kind, EmailMessage)):
        raise ConfigError(f"{found['class']} is no class of mails")
    message: Any = object.__new__(kind)
    # The attribute's name changed with Django 6.1.
    message.__dict__.update(copy.deepcopy(found["attributes"]), connection=None, _connection=None)
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


def deliver_mail(message: dict[str, Any], using: str) -> int:
    """Send a mail through the backend or mailer that *using* names; how many it was."""
    mail_ = rebuilt(message)
    if MAILERS and getattr(settings, "MAILERS", None):
        return int(mail_.send(using=using) or 0)
    return int(mail.get_connection(using).send_messages([mail_]) or 0)


deliver: Task[[dict[str, Any], str], int] = registered(Task(deliver_mail, name="belayed.django.deliver_mail"))


def refuse(_message: EmailMessage) -> Any:
    """A mail that is built is not for delay(), nor an argument."""
    raise NotSerializable(
        "the mail",
        "it is built already, and would be sent as it was",
        "send() it with belayed.django.EmailBackend as the backend, or delay a function that builds and sends one",
    )
