"""Methods in rows that somebody wrote by hand: those that the project's classes inherit are code of others."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from rows import POSTS, method, outcome, written
from shop.models import Basket, Member, Post

from belayed import State, delay
from belayed.errors import NotTrusted
from belayed.testing import drain

pytestmark = pytest.mark.django_db
MANAGERS = [POSTS, ["shop.basket", "objects"], ["shop.basket", "plain"]]
REFUSED = (State.FAILED, "UntrustedPayload")
OF_ROWS = ["delete", "save", "refresh_from_db", "full_clean", "save_base", "serializable_value", "get_title_display"]
OF_MANAGERS = ["create", "update", "delete", "raw", "values_list", "get_or_create", "bulk_create", "in_bulk", "using",
               "get_queryset", "filter", "aupdate", "from_queryset", "contribute_to_class"]  # fmt: skip


@pytest.mark.parametrize("name", OF_ROWS)
def test_a_row_calls_no_inherited_method_of_the_project_s_rows(name):
    post = Post.objects.create(title="news")

    state, kind = outcome(written(method("django", ["shop.post", post.pk, "default"], name)))

    assert (state, kind) == REFUSED or kind == "UnknownTask"
    assert Post.objects.count() == 1


@pytest.mark.parametrize("name", OF_MANAGERS)
@pytest.mark.parametrize("key", MANAGERS, ids=".".join)
def test_a_row_calls_no_inherited_method_of_the_project_s_managers(key, name):
    state, kind = outcome(written(method("django.manager", key, name)))

    # Some are not there, as they are of querysets only; and one is the project's own.
    own = key == POSTS and name == "get_queryset"
    assert (state, kind) == REFUSED or kind == "UnknownTask" or own


@pytest.mark.parametrize("name", ["set_password", "check_password", "set_unusable_password", "save", "delete"])
def test_a_row_calls_no_inherited_method_of_the_project_s_users(name):
    member = Member.objects.create(username="ada")

    assert outcome(written(method("django", ["shop.member", member.pk, "default"], name, "x"))) == REFUSED
    assert Member.objects.get().password == ""


def test_a_row_calls_no_method_of_a_class_by_its_name():
    for name in ("from_db", "check", "validate_unique", "_do_update", "delete", "objects", "DoesNotExist"):
        job = written(method("name", "shop.models:Post", name))

        assert outcome(job)[1] in ("UntrustedPayload", "UnknownTask")


def test_methods_of_the_project_s_own_run_on_rows_managers_and_querysets():
    basket = Basket.objects.create(title="a")
    member = Member.objects.create(username="ada")
    post = Post.objects.create(title="news")

    jobs = [
        delay(Basket.objects).fill("b"),
        delay(Basket.plain).emptied(),
        delay(basket).rename("c"),
        delay(member).greeting(),
        delay(post).like(),
        delay(Post.objects).like_all(),
    ]
    drain()

    assert [job.refresh().state for job in jobs] == [State.SUCCEEDED] * 6
    assert (jobs[0].result, jobs[1].result, jobs[3].result) == (1, 1, "hello ada")
    assert Basket.objects.get().title == "c"


def test_inherited_methods_are_refused_at_the_enqueue(ada):
    post, basket = Post.objects.create(title="news"), Basket.objects.create(title="a")

    calls = [
        lambda: delay(post).delete(),
        lambda: delay(ada).set_password("x"),
        lambda: delay(Post.objects).create(title="x"),
        lambda: delay(Basket.objects).update(title="x"),
    ]
    for call in calls:
        with pytest.raises(NotTrusted, match=r"BELAYED = \{'TRUST': \["):
            call()

    assert (Post.objects.count(), User.objects.count(), basket.pk) == (1, 1, basket.pk)
