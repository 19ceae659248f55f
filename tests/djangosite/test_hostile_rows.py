"""Rows that somebody wrote into the table by hand: what they may name, and what they cannot reach."""

from __future__ import annotations

import json
import sys

import django
import pytest
from conftest import HERE
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core import mail
from django.core.checks import run_checks
from django.core.mail import EmailMessage
from django.db import connection
from django.test import override_settings
from rows import ADA, USERS, function, method, outcome, written
from shop import tasks
from shop.models import Post, Ticket
from shop.tasks import add, greet

from belayed import State, delay
from belayed.application import DJANGO, Application
from belayed.config import current
from belayed.django.djangotasks import error_of
from belayed.errors import NotSerializable, NotTrusted, UntrustedPayload
from belayed.testing import drain, held

pytestmark = pytest.mark.django_db(databases=["default", "other"])


FOREIGN = [
    function("django.contrib.auth.models:update_last_login", None, {"$": "django", "v": ADA}),
    function("django.contrib.auth.hashers:make_password", "x"),
    function("django.core.management:call_command", "flush", interactive=False),
    function("django.utils.module_loading:import_string", "antigravity.fly"),
    function("belayed.django.conf:plugins"),
    function("belayed.codec.registry:register_proxy", {"$": "name", "v": "shop.models:Post"}, None),
    function("django.tasks.base:task", 1),
]


@pytest.mark.parametrize("payload", FOREIGN, ids=lambda one: one["call"])
@pytest.mark.parametrize("settings", [{}, {"TRUST": ["shop"]}], ids=["own", "TRUST"])
def test_a_row_calls_no_function_of_an_installed_application(settings, payload, ada):
    with override_settings(BELAYED=settings):
        state, kind = outcome(written(payload))

    assert (state, kind) == (State.FAILED, "UntrustedPayload")
    assert User.objects.get().last_login is None
    assert "antigravity" not in sys.modules


METHODS = ["set_password", "delete", "save", "check_password", "__setattr__", "__reduce__", "get_username"]


@pytest.mark.parametrize("name", METHODS)
def test_a_row_calls_no_method_of_an_installed_application_s_rows(name, ada):
    state, kind = outcome(written(method("django", ADA, name, "after", "x")))

    assert (state, kind) in [(State.FAILED, "UntrustedPayload"), (State.FAILED, "BrokenPayload")]
    assert User.objects.get().check_password("before")


MANAGERS = ["create_superuser", "create_user", "create", "values_list", "raw", "all", "get_queryset"]


@pytest.mark.parametrize("name", MANAGERS)
def test_a_row_calls_no_method_of_an_installed_application_s_manager(name, ada):
    state, kind = outcome(written(method("django.manager", USERS, name, "eve")))

    assert (state, kind) == (State.FAILED, "UntrustedPayload")
    assert User.objects.count() == 1


def test_a_row_replaces_no_task():
    before = tasks.greet
    job = written(method("django.manager", ["shop.post", "__setattr__"], "__call__", "like", "x"))

    assert outcome(job)[0] is not State.SUCCEEDED
    assert outcome(written(method("name", "shop.models:Post", "__setattr__", "like", "x")))[0] is State.FAILED
    assert tasks.greet is before
    assert callable(Post.like)


def test_what_is_not_the_project_s_is_refused_at_the_enqueue_and_the_setting_is_named(ada):
    from django.contrib.auth.hashers import make_password

    with pytest.raises(NotTrusted, match=r"BELAYED = \{'TRUST': \['django.contrib.auth', 'shop', 'site_settings'\]\}"):
        delay(make_password)("x")
    with pytest.raises(NotTrusted):
        delay(ada).set_password("x")


def test_trust_is_the_whole_truth():
    shout = function("shop.tasks:shout", "x")
    with override_settings(BELAYED={"TRUST": ["warehouse"]}):
        with pytest.raises(NotTrusted, match=r"\['shop', 'warehouse'\]"):
            delay(tasks.shout)("x")
        refused = outcome(written(shout))
        registered = outcome(greet.enqueue("ada"))
    with override_settings(BELAYED={"TRUST": ["django.contrib.auth", "shop"]}):
        named = outcome(written(function("django.contrib.auth.hashers:check_password", "x", "y")))
        own = outcome(written(shout))

    assert refused == (State.FAILED, "UntrustedPayload")
    assert [state for state, _ in (registered, named, own)] == [State.SUCCEEDED] * 3


def test_a_worker_that_starts_by_belayed_s_own_module_trusts_belayed_no_more_than_others():
    jobs = Application(DJANGO, "a test", HERE).load()

    job = written(function("belayed.codec.refusals:shorten", "x"))

    assert jobs is current()
    assert outcome(job) == (State.FAILED, "UntrustedPayload")


@pytest.mark.parametrize(
    "meta",
    [{"django_tasks": "nowhere"}, {"django_tasks": ["default"]}, {"django_tasks": {"a": 1}}, {"django_tasks": None},
     {"django_tasks": 7}],
    ids=repr,
)  # fmt: skip
def test_a_backend_that_is_none_of_the_settings_is_nobody_s(meta):
    job = written(function("shop.tasks:greet", "ada"), meta, "shop.tasks.greet")

    assert outcome(job) == (State.SUCCEEDED, "")


@pytest.mark.parametrize("name", ["shop.tasks.connection", "shop.models.Post", "shop.tasks.shout", "antigravity.fly"])
def test_the_name_in_a_row_leads_to_tasks_only(name):
    result = add.enqueue(1)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE belayed_jobs SET task = %s WHERE id = %s", [name, int(result.id)])

    with pytest.raises(Exception, match="there is no task") as raised:
        add.get_result(result.id)

    assert type(raised.value).__name__ == "TaskResultDoesNotExist"
    assert "antigravity" not in sys.modules


def test_a_result_is_told_of_a_job_that_was_moved():
    result = add.enqueue(1)
    with connection.cursor() as cursor:
        cursor.execute("UPDATE belayed_jobs SET queue = 'elsewhere', priority = 5000 WHERE id = %s", [int(result.id)])

    found = add.get_result(result.id)

    assert (found.task.queue_name, found.task.priority, found.args) == ("elsewhere", -5000, [1])


@pytest.mark.parametrize("payload", [[], {"v": 1}, {"v": 1, "perform": None}, {"v": 1, "args": 7, "kwargs": 7}, None])
def test_a_result_is_told_of_a_job_whose_arguments_are_none(payload):
    job = written(payload, {"django_tasks": "default"}, "shop.tasks.add")

    assert add.get_result(str(job.id)).args == []


def test_the_error_of_an_attempt_imports_nothing():
    for name in ("antigravity.Error", "shop.tasks.greet", "antigravity", "os.path.join", "shop.models.Post"):
        with pytest.raises((ImportError, ValueError)):
            _ = error_of(name, "x", "x").exception_class

    assert "antigravity" not in sys.modules
    assert error_of("json.decoder.JSONDecodeError", "x", "x").exception_class is json.JSONDecodeError
    assert error_of("shop.models.Post.DoesNotExist", "x", "x").exception_class is Post.DoesNotExist
    assert error_of("KeyError", "x", "x").exception_class is KeyError


def test_what_rows_of_the_project_need_is_loaded_all_the_same(ada):
    ticket = Ticket.objects.create()
    post = Post.objects.create(title="news")

    jobs = [delay(post).like(), greet.enqueue(ada), greet.enqueue(Post.objects), greet.enqueue({"of": (ticket, [ada])})]
    drain()

    assert [job.refresh().state for job in jobs] == [State.SUCCEEDED] * 4


@pytest.mark.parametrize(
    ("trust", "ids"),
    [(["shop", "django.contrib.auth"], []), (["shpo"], ["belayed.W006"]), (["django"], ["belayed.W007"]),
     (["shop", "os"], ["belayed.W007"]), (["belayed"], ["belayed.W007"])],
)  # fmt: skip
def test_a_trust_that_is_misspelt_or_too_wide_is_told(trust, ids):
    with override_settings(BELAYED={"TRUST": trust}):
        found = [one.id for one in run_checks() if one.id.startswith("belayed")]

    assert found == ids


class Loud(EmailMessage):
    """A class of mails of the project's own."""


def mailed(**changes: object) -> dict:
    """The payload of a mail's job, with something else in its message."""
    with held() as found:
        EmailMessage("Hello", "Hello.", "shop@example.org", ["ada@example.org"]).send()
    payload = json.loads(found[0].payload)
    payload["args"][0] |= changes
    return payload


MAILS = {
    "a module": ({"class": "antigravity:Mail"}, "UntrustedMail"),
    "a backend": ({"class": "django.core.mail.backends.smtp:EmailBackend"}, "UntrustedMail"),
    "a function": ({"class": "shop.tasks:shout"}, "UntrustedMail"),
    "a model": ({"class": "shop.models:Post"}, "UntrustedMail"),
    "no class": ({"class": ["shop.models:Post"]}, "BrokenMail"),
    "no name": ({"class": "Mail"}, "BrokenMail"),
    "a method": ({"attributes": {"message": {"$": "name", "v": "shop.tasks:shout"}}}, "UntrustedMail"),
    "a method's name": ({"attributes": {"recipients": ["ada@example.org"]}}, "UntrustedMail"),
    "code": ({"attributes": {"subject": {"$": "name", "v": "shop.tasks:shout"}}}, "UntrustedMail"),
    "a class": ({"attributes": {"__class__": "x"}}, "UntrustedMail"),
    "no attributes": ({"attributes": 7}, "BrokenMail"),
    "an attachment by its path": ({"attachments": [{"path": "/etc/passwd"}]}, "BrokenMail"),
    "an attachment of a wrong type": ({"attachments": [{"part": "text"}]}, "BrokenMail"),
    "alternatives that are none": ({"alternatives": ["text"]}, "BrokenMail"),
}


@pytest.fixture
def outbox():
    """The mails that workers send, where the settings let them send into memory."""
    memory = "django.core.mail.backends.locmem.EmailBackend"
    if django.VERSION >= (6, 1):
        ours = {"BACKEND": "belayed.django.EmailBackend", "OPTIONS": {"using": "memory"}}
        other = {"BACKEND": "belayed.django.EmailBackend", "OPTIONS": {"using": "other"}}
        ways = {"default": ours, "memory": {"BACKEND": memory}, "bulk": other, "other": {"BACKEND": memory}}
        ways["direct"] = {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"}
        settings = {"MAILERS": ways}
    else:
        settings = {"EMAIL_BACKEND": "belayed.django.EmailBackend", "BELAYED": {"MAIL_USING": memory}}
    with override_settings(**settings):
        mail.outbox = []
        yield mail.outbox


@pytest.mark.parametrize("case", MAILS)
def test_a_mail_in_a_row_is_of_a_class_of_mails_and_of_data(outbox, case):
    changes, wanted = MAILS[case]

    assert outcome(written(mailed(**changes))) == (State.FAILED, wanted)
    assert outbox == []
    assert "antigravity" not in sys.modules


USINGS = [
    "antigravity.Backend",
    "django.core.mail.backends.dummy.EmailBackend",
    "direct",
    "default",
    ["x"],
    {},
    7,
    None,
]


@pytest.mark.parametrize("using", USINGS, ids=repr)
def test_a_mail_is_sent_as_the_settings_say_whatever_its_row_says(outbox, using):
    payload = mailed()
    payload["args"] = [payload["args"][0], using]

    assert outcome(written(payload)) == (State.SUCCEEDED, "")
    assert [one.subject for one in outbox] == ["Hello"]
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize(
    "attributes",
    [{"to": ["ada@example.org\nRCPT TO:<eve@example.org>"]}, {"subject": "a\nBcc: eve@example.org"},
     {"extra_headers": {"X-Shop": "7\r\nBcc: eve@example.org"}}, {"from_email": "shop@example.org\nX: 1"}],
    ids=lambda one: next(iter(one)),
)  # fmt: skip
def test_a_header_of_a_row_has_no_second_line(outbox, attributes):
    payload = mailed()
    payload["args"][0]["attributes"] |= attributes

    state, kind = outcome(written(payload))

    assert (state, outbox) == (State.SCHEDULED, [])
    assert kind in ("BadHeaderError", "ValueError")


def test_mails_of_a_class_of_the_project_s_own_are_sent(outbox):
    Loud("Hello", "Hello.", "shop@example.org", ["ada@example.org"]).send()

    drain()

    assert [type(one) for one in outbox] == [Loud]


def test_a_mail_with_code_on_it_is_refused_at_the_enqueue(outbox):
    message = EmailMessage("Hello", "Hello.", "shop@example.org", ["ada@example.org"])
    message.on_sent = tasks.shout

    with pytest.raises(NotSerializable, match="its attribute on_sent is code"):
        message.send()


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Files in a directory that modules are imported from, as the one of manage.py is."""
    monkeypatch.syspath_prepend(tmp_path)

    def files(*names: str):
        for name in names:
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("ran = []\ndef run():\n    ran.append(1)\n")
        return tmp_path

    yield files
    for name in [name for name in sys.modules if name.partition(".")[0] in ("media", "goods", "lib")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["media.uploads.evil", "media.evil", "goods.pictures.evil"])
def test_a_file_that_was_uploaded_is_no_code(files, name):
    folder = files("goods/__init__.py", "goods/own.py", "lib.py", f"{name.replace('.', '/')}.py")

    with override_settings(MEDIA_ROOT=folder / "goods" / "pictures", BELAYED={}):
        uploaded = outcome(written(function(f"{name}:run")))
        own = [outcome(written(function(f"{one}:run"))) for one in ("goods.own", "lib")]

    assert uploaded == (State.FAILED, "UntrustedPayload")
    assert name not in sys.modules
    assert own == [(State.SUCCEEDED, "")] * 2


@pytest.mark.parametrize("name", ["goods.media.avatars.evil", "goods.uploads.evil", "goods.linked.avatars.evil"])
@pytest.mark.parametrize("settings", [{}, {"TRUST": ["goods"]}], ids=["default", "trust"])
def test_a_file_that_was_uploaded_into_a_package_is_no_code(files, name, settings):
    folder = files("goods/__init__.py", "goods/own/__init__.py", "goods/media/avatars/evil.py", "goods/uploads/evil.py")
    (folder / "goods" / "media" / "__init__.py").touch()
    (folder / "goods" / "media" / "avatars" / "__init__.py").touch()
    (folder / "goods" / "linked").symlink_to(folder / "goods" / "media")

    with override_settings(MEDIA_ROOT=folder / "goods" / "media", BELAYED=settings):
        uploaded = outcome(written(function(f"{name}:run")))
        own = outcome(written(function("goods.own:run")))

    assert uploaded == (State.FAILED, "UntrustedPayload")
    assert name not in sys.modules
    assert own == (State.SUCCEEDED, "")


BARE = "as {!r} is a directory without an __init__.py, and in none of INSTALLED_APPS: add the one, or"


@pytest.mark.parametrize(
    ("name", "settings", "why"),
    [
        ("lib.tasks", {}, BARE.format("lib")),
        ("goods.more.tasks", {}, BARE.format("goods/more")),
        ("goods.media.tasks", {}, "as it lies in MEDIA_ROOT, among what was uploaded"),
        ("goods.tasks", {"TRUST": ["shop"]}, "as BELAYED['TRUST'] does not name it"),
        ("goods.media.tasks", {"TRUST": ["goods"]}, "as it lies in MEDIA_ROOT"),
        ("json.tool", {}, "as it is not the project's own: it is Python's, or was installed as a package"),
        ("django.contrib.auth.hashers", {}, "as it is not the project's own"),
    ],
)
def test_it_is_said_why_code_may_not_run(files, name, settings, why):
    folder = files("lib/tasks.py", "goods/__init__.py", "goods/tasks.py", "goods/more/tasks.py", "goods/media/tasks.py")

    with override_settings(MEDIA_ROOT=folder / "goods" / "media", BELAYED=settings):
        with pytest.raises(NotTrusted) as enqueued:
            current().trust.require(f"{name}:run")
        with pytest.raises(UntrustedPayload) as worked:
            current().trust.check(f"{name}:run")

    assert f"workers may not run code of {name!r}, {why}" in str(enqueued.value)
    fix = "keep code elsewhere" if "media" in name else "if they should, set BELAYED = {'TRUST': ["
    assert fix in str(enqueued.value)
    assert str(worked.value) == str(enqueued.value)


def test_applications_in_a_directory_without_an_init_are_the_project_s(files):
    files("goods/baker/__init__.py", "goods/baker/own.py", "goods/evil.py")

    with override_settings(INSTALLED_APPS=[*django_settings.INSTALLED_APPS, "goods.baker"], BELAYED={}):
        own, other = (outcome(written(function(f"goods.{name}:run"))) for name in ("baker.own", "evil"))

    assert (own, other) == ((State.SUCCEEDED, ""), (State.FAILED, "UntrustedPayload"))


def test_what_trust_names_may_be_a_directory_without_an_init(files):
    files("media/own.py")

    with override_settings(BELAYED={"TRUST": ["media"]}):
        assert outcome(written(function("media.own:run"))) == (State.SUCCEEDED, "")
