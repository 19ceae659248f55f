"""Jobs in an admin site of the project's own."""

from __future__ import annotations

import subprocess
import sys

import pytest
from conftest import HERE, environment
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from shop.tasks import fails, greet

from belayed import State
from belayed.django.admin import EndedJobAdmin, LiveJobAdmin, register
from belayed.django.models import EndedJob, LiveJob
from belayed.errors import ConfigError
from belayed.testing import drain

pytestmark = pytest.mark.django_db


def test_jobs_are_listed_shown_and_changed_there(admin_client):
    job = greet.enqueue("ada")
    failed = fails.using(max_attempts=1).enqueue()
    drain("default", raises=False)
    waiting = greet.enqueue("bob")

    listed = admin_client.get(reverse("staff:belayed_livejob_changelist")).content.decode()
    ended = admin_client.get(reverse("staff:belayed_endedjob_changelist"), {"q": failed.id}).content.decode()
    one = admin_client.get(reverse("staff:belayed_endedjob_change", args=[job.id])).content.decode()
    given = {"action": "cancel", "_selected_action": [waiting.id]}
    done = admin_client.post(reverse("staff:belayed_livejob_changelist"), given, follow=True).content.decode()

    assert f"/staff/belayed/livejob/{waiting.id}/change/" in listed
    assert f"/staff/belayed/endedjob/{failed.id}/change/" in ended
    assert "hello ada" in one
    assert "1 job cancelled." in done
    assert waiting.refresh().state is State.CANCELLED


def test_who_may_only_look_is_offered_no_actions_there(client):
    user = User.objects.create_user("looker", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_livejob"]))
    client.force_login(user)
    greet.enqueue("ada")

    listed = client.get(reverse("staff:belayed_livejob_changelist"))
    ended = client.get(reverse("staff:belayed_endedjob_changelist"))

    assert (listed.status_code, ended.status_code) == (200, 403)
    assert 'name="action"' not in listed.content.decode()


def test_to_register_twice_changes_nothing():
    site = admin.AdminSite("twice")

    register(site)
    register(site)
    register(admin.site)

    assert sorted(model.__name__ for model in site._registry) == ["EndedJob", "LiveJob"]


def test_an_admin_of_the_projects_own_stays():
    class Mine(LiveJobAdmin):
        list_per_page = 10

    site = admin.AdminSite("mine")
    site.register(LiveJob, Mine)

    register(site)

    assert type(site._registry[LiveJob]) is Mine
    assert type(site._registry[EndedJob]) is EndedJobAdmin


@pytest.mark.parametrize("site", [None, "admin", admin.AdminSite, admin], ids=["None", "text", "class", "module"])
def test_what_is_no_site_is_refused(site):
    with pytest.raises(ConfigError, match=r"register\(.*\): it takes an AdminSite, such as admin.site, as an instance"):
        register(site)


OWN = """
from django.contrib.admin import AdminSite
from django.contrib.admin.apps import AdminConfig


class Site(AdminSite):
    pass


class OwnConfig(AdminConfig):
    default_site = "own.Site"
"""
SHOWN = """
import django
from django.conf import settings
apps = ["auth", "contenttypes", "messages", "sessions"]
settings.configure(
    INSTALLED_APPS=[*(f"django.contrib.{app}" for app in apps), "own.OwnConfig", "belayed.django"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "unused.db"}},
)
django.setup()
from django.contrib import admin
print(type(admin.site._wrapped).__module__, *sorted(model.__name__ for model in admin.site._registry))
"""


def test_a_default_site_of_the_projects_own_has_them_by_itself(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    found = environment(PYTHONPATH=f"{tmp_path}:{HERE.parents[1] / 'src'}", DJANGO_SETTINGS_MODULE="")

    shown = subprocess.run(
        [sys.executable, "-c", SHOWN], check=False, capture_output=True, text=True, env=found, cwd=tmp_path
    )

    assert shown.stdout.split() == ["own", "EndedJob", "Group", "LiveJob", "User"], shown.stderr
