"""Jobs in the admin."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import override_settings
from django.urls import reverse
from django.utils import timezone
from shop.models import Post, Ticket
from shop.tasks import Key, Lock, django_logs_in, fails, greet, logs_in, returns_an_iterator, same

from belayed import State, delay, enqueue_many
from belayed.config import current
from belayed.django.models import LiveJob
from belayed.testing import drain

pytestmark = pytest.mark.django_db
LIVE, ENDED = "admin:belayed_livejob_changelist", "admin:belayed_endedjob_changelist"


@pytest.fixture
def looker(client):
    """A browser of one who may look at jobs, but not change them."""
    user = User.objects.create_user("looker", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_livejob", "view_endedjob"]))
    client.force_login(user)
    return client


def act(client, name, action, *jobs):
    given = {"action": action, "_selected_action": [job.id for job in jobs]}
    return client.post(reverse(name), given, follow=True)


def test_live_jobs_are_listed_and_filtered(admin_client):
    greet.enqueue("ada")
    later = greet.using(run_at=timedelta(hours=1), queue="slow").enqueue("bob")

    both = admin_client.get(reverse(LIVE)).content.decode()
    one = admin_client.get(reverse(LIVE), {"state": "scheduled"}).content.decode()

    assert both.count('<th class="field-id">') == 2
    assert one.count('<th class="field-id">') == 1
    assert f"{later.id}</a>" in one
    assert "slow" in one


@pytest.mark.parametrize(("term", "count"), [("{id}", 1), ("shop.tasks.greet", 2), ("slow", 1), ("gree", 0)])
def test_jobs_are_searched_by_whole_names(admin_client, term, count):
    greet.enqueue("ada")
    later = greet.using(queue="slow").enqueue("bob")

    page = admin_client.get(reverse(LIVE), {"q": term.format(id=later.id)}).content.decode()

    assert page.count('<th class="field-id">') == count


def test_a_failed_job_is_shown_with_its_error_and_attempts(admin_client):
    job = fails.using(max_attempts=1).enqueue()
    drain(raises=False)

    listed = admin_client.get(reverse(ENDED), {"state": "failed"}).content.decode()
    shown = admin_client.get(reverse("admin:belayed_endedjob_change", args=[job.id])).content.decode()

    assert "KeyError: &#x27;no&#x27;" in listed
    assert "Traceback (most recent call last)" in shown
    assert "shop.tasks.fails" in shown
    assert 'name="_save"' not in shown


def test_secrets_are_not_shown(admin_client):
    job = greet.enqueue({"password": "s3cret", "name": "ada"})

    shown = admin_client.get(reverse("admin:belayed_livejob_change", args=[job.id])).content.decode()

    assert "s3cret" not in shown
    assert "ada" in shown


def test_a_failed_job_is_retried(admin_client):
    job = current().get(int(fails.using(max_attempts=1).enqueue().id))
    drain(raises=False)

    page = act(admin_client, ENDED, "retry", job)

    assert "1 job run again." in page.content.decode()
    assert job.refresh().state is State.READY


def test_jobs_are_cancelled_run_now_and_deleted(admin_client):
    a, b, c = (greet.using(run_at=timedelta(hours=1)).enqueue(name) for name in "abc")

    cancelled = act(admin_client, LIVE, "cancel", a).content.decode()
    due = act(admin_client, LIVE, "run_now", b).content.decode()
    deleted = act(admin_client, LIVE, "delete_jobs", c).content.decode()

    assert ("1 job cancelled." in cancelled, "1 job made due now." in due, "1 job deleted." in deleted) == (True,) * 3
    assert (a.refresh().state, b.refresh().state) == (State.CANCELLED, State.READY)
    assert current().find(ids=[c.id]) == []


def test_an_action_that_suits_none_of_the_jobs_says_so(admin_client):
    job = greet.using(queue="slow").enqueue("ada")

    page = act(admin_client, LIVE, "run_now", job).content.decode()

    assert "None of the selected jobs can be made due now." in page


def test_who_may_only_look_has_no_actions(looker):
    job = greet.enqueue("ada")

    page = looker.get(reverse(LIVE)).content.decode()
    act(looker, LIVE, "cancel", job)
    act(looker, LIVE, "delete_jobs", job)

    assert 'value="cancel"' not in page
    assert job.refresh().state is State.READY


def test_who_may_manage_jobs_can(looker):
    job = greet.enqueue("ada")
    User.objects.get(username="looker").user_permissions.add(Permission.objects.get(codename="change_job"))

    act(looker, LIVE, "cancel", job)

    assert job.refresh().state is State.CANCELLED


def test_others_see_nothing(client):
    client.force_login(User.objects.create_user("stranger", password="x", is_staff=True))

    assert client.get(reverse(LIVE)).status_code == 403


HIDDEN = [
    "payload__contains", "payload__icontains", "payload__startswith", "payload__regex", "payload__gt", "payload__in",
    "payload", "payload__exact", "payload__length__gt", "payload__isnull", "meta__contains", "meta", "error__contains",
    "result__regex", "result", "id__in", "pk__gt", "state__regex", "state__in", "task__contains", "queue__startswith",
    "nothing", "payload__contains__x", "run_at__gt",
]  # fmt: skip


@pytest.mark.parametrize("name", [LIVE, ENDED])
def test_who_may_look_cannot_ask_for_what_is_hidden(looker, name):
    for word in ("ada", "eve"):
        greet.enqueue({"password": "s3cret", "name": word})
    if name == ENDED:
        drain()

    for lookup in HIDDEN:
        for value in ("s3cret", "1"):
            answer = looker.get(reverse(name), {lookup: value})
            assert (lookup, answer.status_code) == (lookup, 400)
    for given in ({"_to_field": "payload"}, {"_to_field": "task"}):
        assert looker.get(reverse(name), given).status_code == 400


def test_who_may_look_cannot_ask_by_an_action_an_order_or_the_search(looker):
    jobs = [greet.enqueue({"password": word}) for word in ("aaa", "zzz")]
    across = {"action": "cancel", "_selected_action": [jobs[0].id], "select_across": "1"}

    by_action = looker.post(f"{reverse(LIVE)}?payload__contains=aaa", across)
    by_search = looker.get(reverse(LIVE), {"q": "aaa"}).content.decode()
    orders = [looker.get(reverse(LIVE), {"o": order}).content.decode() for order in ("4", "-4", "9", "x", "payload")]
    listed = [[page.index(f"{job.id}</a>") for job in jobs] for page in orders]

    assert by_action.status_code == 400
    assert by_search.count('<th class="field-id">') == 0
    assert all(first > second for first, second in listed)


@pytest.mark.parametrize("given", [{"queue": "slow"}, {"task": "shop.tasks.greet", "queue": "slow"}, {"priority": "7"}])
def test_lists_are_filtered_by_columns_that_they_show(looker, given):
    greet.enqueue("ada")
    greet.using(queue="slow", priority=7).enqueue("ada")

    page = looker.get(reverse(LIVE), given).content.decode()

    assert page.count('<th class="field-id">') == 1


def test_a_number_that_is_no_id_finds_nothing(looker):
    greet.enqueue("ada")

    pages = [looker.get(reverse(LIVE), {"q": "9" * digits}) for digits in (19, 20, 5000)]

    assert [page.status_code for page in pages] == [200] * 3
    assert not any('<th class="field-id">' in page.content.decode() for page in pages)


@pytest.mark.parametrize("payload", ["[" * 50_000, "s3cret", '{"password": "s3cret"', '"s3cret'])
def test_arguments_that_nobody_can_read_are_not_shown(looker, payload):
    job = greet.enqueue("ada")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE belayed_jobs SET payload = %s WHERE id = %s", [payload, job.id])

    page = looker.get(reverse("admin:belayed_livejob_change", args=[job.id]))

    assert page.status_code == 200
    assert "cannot be read" in page.content.decode()
    assert "s3cret" not in page.content.decode()


def test_arguments_by_position_are_hidden_by_the_names_that_the_called_code_gives_them(looker):
    post, ticket = Post.objects.create(title="news"), Ticket.objects.create()
    jobs = [
        delay(logs_in)("ada", "s3cret"),
        delay(post).unlock("ada", "s3cret"),
        delay(ticket).unlock("ada", "s3cret", "s3cret"),
        delay(Post.objects).unlock_all("ada", "s3cret"),
        delay(Key("x")).turn("ada", "s3cret"),
        delay(Key).made("ada", "s3cret"),
        delay(Lock()).turn("ada", "s3cret"),
        post.publish("ada"),
        django_logs_in.enqueue("ada", "s3cret"),
    ]
    pages = [looker.get(reverse("admin:belayed_livejob_change", args=[job.id])).content.decode() for job in jobs]

    assert [("s3cret" in page, "ada" in page) for page in pages] == [(False, True)] * len(jobs)


def test_arguments_by_position_of_code_that_is_not_here_are_hidden(looker):
    job = delay(logs_in)("ada", "s3cret")
    for name in ("shop.tasks:nothing", "nowhere:logs_in", "antigravity:fly", 7):
        with connection.cursor() as cursor:
            payload = json.dumps({"v": 1, "call": name, "args": ["s3cret", "s3cret"], "kwargs": {"password": "s3cret"}})
            cursor.execute("UPDATE belayed_jobs SET payload = %s WHERE id = %s", [payload, job.id])

        page = looker.get(reverse("admin:belayed_livejob_change", args=[job.id]))

        assert (page.status_code, "s3cret" in page.content.decode()) == (200, False)
    assert "antigravity" not in sys.modules


def test_secrets_of_a_result_are_not_shown(looker):
    job, other = delay(same)({"token": "s3cret", "name": "ada"}), returns_an_iterator.enqueue()
    drain()

    pages = [reverse("admin:belayed_endedjob_change", args=[one.id]) for one in (job, other)]
    shown, lost = (looker.get(page).content.decode() for page in pages)

    assert "s3cret" not in shown
    assert "ada" in shown
    assert "not stored: it returned a builtins.list_iterator" in lost


def test_no_statement_counts_the_whole_table(admin_client):
    from django.test.utils import CaptureQueriesContext

    enqueue_many(greet.draft(number) for number in range(120))
    with CaptureQueriesContext(connection) as queries:
        page = admin_client.get(reverse(LIVE)).content.decode()

    statements = [one["sql"] for one in queries if "belayed_jobs" in one["sql"]]
    assert page.count('<th class="field-id">') == 50
    assert "120 jobs" in page
    assert not any("COUNT" in statement.upper() or "DISTINCT" in statement.upper() for statement in statements)
    assert all("LIMIT" in statement for statement in statements)


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York", "UTC"])
def test_times_at_the_ends_of_the_calendar_are_shown_in_any_zone(admin_client, zone):
    first, last = greet.enqueue("ada"), greet.enqueue("bob")
    LiveJob.objects.filter(pk=first.id).update(run_at=datetime(1, 1, 1, tzinfo=UTC))
    LiveJob.objects.filter(pk=last.id).update(run_at=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    changes = [reverse("admin:belayed_livejob_change", args=[job.id]) for job in (first, last)]

    with override_settings(TIME_ZONE=zone), timezone.override(zone):
        pages = [admin_client.get(path) for path in (reverse(LIVE), *changes)]

    assert [page.status_code for page in pages] == [200] * 3


def test_half_a_character_in_arguments_is_written_out(looker):
    job = greet.enqueue("ada")
    with connection.cursor() as cursor:
        cursor.execute("UPDATE belayed_jobs SET payload = %s WHERE id = %s", [r'{"kwargs": {"who": "\ud800"}}', job.id])

    page = looker.get(reverse("admin:belayed_livejob_change", args=[job.id]))

    assert page.status_code == 200
    assert r"\ud800" in page.content.decode()
