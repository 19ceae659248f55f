"""Jobs in the admin."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from shop.tasks import fails, greet

from belayed import State, enqueue_many
from belayed.config import current
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


def test_no_statement_counts_the_whole_table(admin_client):
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    enqueue_many(greet.draft(number) for number in range(120))
    with CaptureQueriesContext(connection) as queries:
        page = admin_client.get(reverse(LIVE)).content.decode()

    statements = [one["sql"] for one in queries if "belayed_jobs" in one["sql"]]
    assert page.count('<th class="field-id">') == 50
    assert "120 jobs" in page
    assert not any("COUNT" in statement.upper() or "DISTINCT" in statement.upper() for statement in statements)
    assert all("LIMIT" in statement for statement in statements)
