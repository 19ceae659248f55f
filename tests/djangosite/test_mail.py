"""Mail by jobs, to a real server."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from email.mime.image import MIMEImage
from email.mime.text import MIMEText

import django
import pytest
from aiosmtpd.controller import Controller
from django.contrib.auth.forms import PasswordResetForm
from django.core import checks, mail
from django.core.mail import EmailMessage, EmailMultiAlternatives, send_mail
from django.db import transaction
from django.template.loader import render_to_string
from django.test import override_settings
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy
from shop.tasks import greet

from belayed import State, delay
from belayed.config import current
from belayed.errors import BelayedError, NotSerializable, NotTrusted
from belayed.testing import drain, held, travel

pytestmark = pytest.mark.django_db(transaction=True)
PORT = int(os.environ.get("SITE_SMTP", "2525"))
MAILERS = django.VERSION >= (6, 1)


class Inbox:
    """A mail server's handler that keeps what comes."""

    def __init__(self) -> None:
        self.envelopes: list = []

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        self.envelopes.append(envelope)
        return "250 OK"

    @property
    def mails(self):
        import email
        from email import policy

        return [email.message_from_bytes(one.content, policy=policy.default) for one in self.envelopes]


@pytest.fixture(autouse=True)
def real_backend(settings):
    """The test runner takes the memory for the backend: here it is the site's own."""
    import site_settings

    if MAILERS:
        settings.MAILERS = site_settings.MAILERS
    else:
        settings.EMAIL_BACKEND = site_settings.EMAIL_BACKEND


@pytest.fixture
def inbox():
    handler = Inbox()
    controller = Controller(handler, hostname="127.0.0.1", port=PORT)
    controller.start()
    yield handler
    controller.stop()


@pytest.mark.dj(239, 256, 259, 349)
def test_a_mail_is_a_job_and_is_sent_by_it(inbox):
    count = send_mail("Welcome", "Hello, Ada.", "shop@example.org", ["ada@example.org"])
    (job,) = current().find()
    before = list(inbox.envelopes)

    drain()

    assert (count, before) == (1, [])
    assert (job.task, job.queue, job.refresh().state) == ("belayed.django.deliver_mail", "mail", State.SUCCEEDED)
    (found,) = inbox.mails
    assert (found["Subject"], found["From"], found["To"]) == ("Welcome", "shop@example.org", "ada@example.org")
    assert found.get_content().strip() == "Hello, Ada."


class Shout(str):
    """Text of the application's own class."""

    __slots__ = ()

    def __str__(self) -> str:
        return self.upper()


class Blob(bytes):
    __slots__ = ()


@pytest.mark.parametrize("text", [str, SafeString, Shout], ids=["str", "SafeString", "own"])
def test_text_of_any_class_is_sent(text, inbox):
    message = EmailMultiAlternatives(
        text("Welcome"),
        text("Hello, Ada."),
        text("shop@example.org"),
        [text("ada@example.org")],
        cc=(text("bob@example.org"),),
        reply_to=[text("reply@example.org")],
        headers={text("X-Kind"): text("greeting")},
    )
    message.attach_alternative(text("<p>Hello, Ada.</p>"), text("text/html"))
    message.attach(text("note.txt"), text("a note"), text("text/plain"))
    message.attach("blob.bin", Blob(b"\0\xff"), "application/octet-stream")

    message.send()
    drain()

    (found,) = inbox.mails
    assert (found["Subject"], found["From"], found["To"], found["Cc"]) == (
        "Welcome",
        "shop@example.org",
        "ada@example.org",
        "bob@example.org",
    )
    assert (found["Reply-To"], found["X-Kind"]) == ("reply@example.org", "greeting")
    assert found.get_body(("plain",)).get_content().strip() == "Hello, Ada."
    assert found.get_body(("html",)).get_content().strip() == "<p>Hello, Ada.</p>"
    note, blob = (part.get_content() for part in found.iter_attachments())
    # Django 6 ends the text of an attachment with a new line, as it does a body.
    assert (note.removesuffix("\r\n"), blob) == ("a note", b"\0\xff")


def test_a_rendered_template_is_an_argument_of_any_task():
    body = render_to_string("greeting.html", {"name": "<Ada>"})

    job = greet.enqueue({"body": [body]})
    drain()

    assert type(body) is SafeString
    assert job.refresh().result == "hello {'body': ['<b>&lt;Ada&gt;</b>']}"


def test_the_form_that_swallows_errors_sends_its_mail(inbox, django_user_model):
    django_user_model.objects.create_user("ada", "ada@example.org", "a-password")
    form = PasswordResetForm({"email": "ada@example.org"})
    assert form.is_valid()

    form.save(
        domain_override="example.org",
        email_template_name="greeting.html",
        html_email_template_name="greeting.html",
        subject_template_name="subject.txt",
        extra_email_context={"name": "Ada"},
    )
    drain()

    assert [mail_["Subject"] for mail_ in inbox.mails] == ["Reset"]


def test_a_mail_that_fails_silently_is_in_the_log(caplog):
    message = EmailMessage("Welcome", "Hello.", "shop@example.org", ["ada@example.org"])
    message.extra = object()

    sent = mail.get_connection(fail_silently=True).send_messages([message]) if not MAILERS else quietly(message)

    assert sent == 0
    assert "a mail was not queued, and will not be sent" in caplog.text
    assert current().find() == []


def quietly(message):
    from belayed.django import EmailBackend

    backend = EmailBackend(alias="default", using="smtp")
    backend.fail_silently = True
    return backend.send_messages([message])


def test_a_mail_of_a_transaction_that_is_rolled_back_is_never_sent():
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        send_mail("Welcome", "Hello.", "shop@example.org", ["ada@example.org"])
        raise ZeroDivisionError

    assert current().find() == []


@pytest.mark.dj(257)
def test_all_of_a_message_arrives(inbox):
    message = EmailMultiAlternatives(
        gettext_lazy("Your bill"),
        "See the bill.",
        "shop@example.org",
        ["ada@example.org"],
        bcc=["books@example.org"],
        cc=["bob@example.org"],
        reply_to=["help@example.org"],
        headers={"X-Shop": "7"},
    )
    message.attach_alternative("<p>See the bill.</p>", "text/html")
    message.attach("bill.pdf", b"%PDF-1.7 \xff\x00", "application/pdf")
    message.attach("note.txt", "Ärger", "text/plain")

    message.send()
    drain()

    (found,) = inbox.mails
    assert (found["Subject"], found["X-Shop"], found["Reply-To"]) == ("Your bill", "7", "help@example.org")
    assert sorted(inbox.envelopes[0].rcpt_tos) == ["ada@example.org", "bob@example.org", "books@example.org"]
    parts = {part.get_content_type(): part for part in found.walk() if not part.is_multipart()}
    assert parts["text/html"].get_content().strip() == "<p>See the bill.</p>"
    assert parts["application/pdf"].get_content() == b"%PDF-1.7 \xff\x00"
    assert parts["application/pdf"].get_filename() == "bill.pdf"
    assert [part.get_content().strip() for part in found.walk() if part.get_filename() == "note.txt"] == ["Ärger"]


def test_parts_and_messages_may_be_attached(inbox):
    message = EmailMessage("Look", "See below.", "shop@example.org", ["ada@example.org"])
    if django.VERSION >= (6, 0):
        from email.message import MIMEPart

        image = MIMEPart()
        image.set_content(b"GIF89a", "image", "gif", cid="<logo>")
    else:
        image = MIMEImage(b"GIF89a", "gif")
        image["Content-ID"] = "<logo>"
        message.attach(MIMEText("a text of its own"))
    message.attach(image)
    inner = EmailMessage("Inner", "Within.", "shop@example.org", ["ada@example.org"])
    message.attach("inner.eml", inner.message().as_bytes(), "message/rfc822")

    message.send()
    drain()

    (found,) = inbox.mails
    (part,) = [part for part in found.walk() if part.get_content_type() == "image/gif"]
    assert (part.get_content(), part["Content-ID"]) == (b"GIF89a", "<logo>")
    assert any(part.get("Subject") == "Inner" for part in found.walk())


class Tagged(EmailMessage):
    """As anymail's messages are."""


def test_what_other_packages_put_on_a_message_is_kept():
    message = Tagged("Look", "x", "shop@example.org", ["ada@example.org"])
    message.tags, message.metadata, message.esp_extra = ["bill"], {"order": 7}, {"track": True}

    with held() as found:
        message.send()

    from belayed.django.mail import rebuilt

    envelope = current().decode(found[0].payload)
    again = rebuilt(envelope["args"][0])
    assert (type(again), again.tags, again.metadata, again.esp_extra) == (
        Tagged,
        ["bill"],
        {"order": 7},
        {"track": True},
    )


def test_a_class_of_messages_that_workers_may_not_import_is_refused(monkeypatch):
    monkeypatch.setattr(current().trust, "covers", lambda module: False)

    with pytest.raises(NotTrusted, match="test_mail:Tagged: workers may not run code of 'test_mail'"):
        Tagged("Look", "x", "shop@example.org", ["ada@example.org"]).send()
    send_mail("Django's own", "x", "shop@example.org", ["ada@example.org"])

    assert len(current().find()) == 1


def test_a_row_written_by_hand_imports_no_class_that_is_not_trusted():
    from belayed.django.mail import rebuilt, taken

    envelope = taken(EmailMessage("Look", "x", "shop@example.org", ["ada@example.org"]))

    for name in ("antigravity:Mail", "shop.tasks:greet"):
        with pytest.raises(BelayedError):
            rebuilt({**envelope, "class": name})
    assert "antigravity" not in sys.modules


def test_a_server_that_is_down_is_tried_again(request):
    send_mail("Welcome", "Hello.", "shop@example.org", ["ada@example.org"])
    (job,) = current().find()

    drain(raises=False)
    down = (job.refresh().state, job.failures, job.error)
    inbox = request.getfixturevalue("inbox")
    with travel(timedelta(minutes=1)):
        drain()

    assert down[:2] == (State.SCHEDULED, 1)
    assert "ConnectionRefusedError" in down[2]
    assert job.refresh().state is State.SUCCEEDED
    assert len(inbox.mails) == 1


def test_many_mails_are_jobs_each():
    messages = [EmailMessage("x", "y", "shop@example.org", [f"{number}@example.org"]) for number in range(5)]
    nobody = EmailMessage("x", "y", "shop@example.org", [])

    connection = mail.mailers["default"] if MAILERS else mail.get_connection()
    count = connection.send_messages([*messages, nobody])

    assert (count, len(current().find())) == (5, 5)


def test_a_header_that_cannot_be_is_refused_in_the_request():
    with pytest.raises(ValueError, match=r"(?i)header"):
        EmailMessage("a\nb", "y", "shop@example.org", ["ada@example.org"]).send()

    assert current().find() == []


@pytest.mark.dj(233, 253, 257, 349)
def test_a_mail_that_is_built_is_not_for_delay():
    message = EmailMessage("x", "y", "shop@example.org", ["ada@example.org"])

    with pytest.raises(NotSerializable, match="delay a function that builds and sends one"):
        delay(message).send()


@pytest.mark.dj(250, 251, 252, 254, 255, 349)
def test_a_function_that_sends_can_be_delayed(inbox):
    job = delay(send_it, run_at=timedelta(hours=1), queue="mail")("ada@example.org", subject="By a job")

    drain()
    before = list(inbox.envelopes)
    with travel(timedelta(hours=2)):
        drain()

    assert (before, job.queue) == ([], "mail")
    assert '"args":["ada@example.org"],"kwargs":{"subject":"By a job"}' in job.payload
    assert not hasattr(job, "send")
    assert [found["Subject"] for found in inbox.mails] == ["By a job"]


def send_it(address: str, *, subject: str) -> None:
    EmailMessage(subject, "x", "shop@example.org", [address]).send()


@pytest.mark.skipif(not MAILERS, reason="before Django 6.1 there is no MAILERS")
def test_a_mailer_that_sends_to_itself_is_refused():
    wrong = {"default": {"BACKEND": "belayed.django.EmailBackend", "OPTIONS": {"using": "default"}}}
    with override_settings(MAILERS=wrong), pytest.raises(BelayedError, match="to itself"):
        send_mail("x", "y", "shop@example.org", ["ada@example.org"])


@pytest.mark.skipif(not MAILERS, reason="before Django 6.1 there is no MAILERS")
def test_each_mailer_of_ours_has_its_own_behind_it():
    memory = {"BACKEND": "django.core.mail.backends.locmem.EmailBackend"}
    ways = {name: {"BACKEND": "belayed.django.EmailBackend", "OPTIONS": {"using": f"{name}_smtp"}} for name in "ab"}
    with override_settings(MAILERS={**ways, "a_smtp": memory, "b_smtp": memory, "default": memory}):
        send_mail("x", "y", "shop@example.org", ["ada@example.org"], using="b")
        (job,) = current().find()
        drain()

    assert current().decode(job.payload)["args"][1] == "b_smtp"
    assert [one.subject for one in mail.outbox] == ["x"]


@pytest.mark.skipif(MAILERS, reason="from Django 6.1 on MAILERS says it")
def test_a_backend_that_the_settings_do_not_name_is_refused():
    with pytest.raises(BelayedError, match=r"set BELAYED = \{'MAIL_USING': …\}"):
        mail.get_connection(using="django.core.mail.backends.locmem.EmailBackend")


@pytest.mark.skipif(MAILERS, reason="from Django 6.1 on MAILERS says it")
def test_the_backend_behind_can_be_another():
    with override_settings(BELAYED={"MAIL_USING": "django.core.mail.backends.locmem.EmailBackend"}):
        send_mail("x", "y", "shop@example.org", ["ada@example.org"])
        drain()

    assert [one.subject for one in mail.outbox] == ["x"]


@pytest.mark.skipif(MAILERS, reason="from Django 6.1 on MAILERS says it")
def test_mails_that_would_be_jobs_again_for_ever_are_refused():
    wrong = {"MAIL_USING": "belayed.django.EmailBackend"}
    with override_settings(BELAYED=wrong), pytest.raises(BelayedError, match="to itself"):
        send_mail("x", "y", "shop@example.org", ["ada@example.org"])


BEHIND = [
    ("django.core.mail.backends.konsole.EmailBackend", "cannot be imported"),
    ("django.core.mail.backends.smtp.EmailBackand", "cannot be imported"),
    ("smtp", "cannot be imported"),
    ("belayed.django.EmailBackend", "to itself"),
]


@pytest.mark.skipif(MAILERS, reason="from Django 6.1 on MAILERS says it")
@pytest.mark.parametrize(("behind", "problem"), BEHIND)
def test_a_wrong_backend_behind_is_found_by_the_checks(behind, problem):
    wrong = {"EMAIL_BACKEND": "belayed.django.EmailBackend", "BELAYED": {"MAIL_USING": behind}}
    with override_settings(**wrong):
        found = [one.msg for one in checks.run_checks() if one.id == "belayed.E007"]

    assert len(found) == 1
    assert problem in found[0]


@pytest.mark.skipif(not MAILERS, reason="before Django 6.1 there is no MAILERS")
@pytest.mark.parametrize(
    "mailers",
    [
        {"default": {"BACKEND": "belayed.django.EmailBackend", "OPTIONS": {"using": "default"}}},
        {
            "default": {"BACKEND": "belayed.django.EmailBackend", "OPTIONS": {"using": "real"}},
            "real": {"BACKEND": "django.core.mail.backends.konsole.EmailBackend"},
        },
        {
            "default": {"BACKEND": "belayed.django.EmailBackend", "OPTIONS": {"using": "rael"}},
            "real": {"BACKEND": "django.core.mail.backends.smtp.EmailBackend"},
        },
    ],
)
def test_a_wrong_mailer_behind_is_found_by_the_checks(mailers):
    with override_settings(MAILERS=mailers):
        found = [one for one in checks.run_checks() if one.id == "belayed.E007"]

    assert len(found) == 1
