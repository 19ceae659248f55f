"""Models in jobs."""

from __future__ import annotations

import json
import re

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import SynchronousOnlyOperation
from django.core.files.uploadedfile import SimpleUploadedFile
from django.forms import Form
from django.test import RequestFactory, override_settings
from django.utils.functional import SimpleLazyObject
from django.utils.translation import gettext_lazy
from shop.models import Log, Post, Ticket
from shop.tasks import agreet, forgets, greet, likes_and_fails

from belayed import delay
from belayed.config import current
from belayed.errors import NotSaved, NotSerializable, ObjectNotFound
from belayed.testing import adrain, assert_enqueued, drain, perform

pytestmark = pytest.mark.django_db(databases=["default", "other"])


def test_a_method_of_an_instance_runs_later_on_the_row_as_it_is_then():
    post = Post.objects.create(title="news")
    job = delay(post).like(by=3)
    Post.objects.update(likes=10)

    drain()

    assert job.refresh().result == 13
    assert Post.objects.get().likes == 13


def test_no_value_of_a_field_is_in_the_payload():
    post = Post.objects.create(title="secret title")

    job = delay(post).like(by=3)

    subject = {"$": "django", "v": ["shop.post", post.pk, "default"]}
    assert json.loads(job.payload) == {"v": 1, "method": "like", "self": subject, "args": [], "kwargs": {"by": 3}}


def test_a_method_that_is_handled_asynchronously_enqueues():
    post = Post.objects.create(title="news", likes=4)

    job = post.publish("friends")
    here = post.publish.now()
    drain()

    assert (job.queue, job.priority, here) == ("likes", -4, "news to all")
    assert job.refresh().result == "news to friends"


def test_delayable_models_have_delay():
    post = Post.objects.create(title="news")

    post.delay(queue="slow").like()

    assert_enqueued(post.like, queue="slow")


def test_managers_and_their_methods_are_jobs():
    Post.objects.create(title="a")
    one, two = delay(Post.objects).like_all(by=2), Post.objects.reset()

    drain("default")
    liked = Post.objects.get().likes
    drain()

    assert (one.refresh().result, liked) == (1, 2)
    assert (two.queue, two.refresh().result, Post.objects.get().likes) == ("likes", 1, 0)


def test_the_manager_of_a_relation_is_refused():
    user = User.objects.create(username="ada")

    with pytest.raises(NotSerializable, match="manager of a relation; pass the object that it is of"):
        greet.enqueue(user.groups)


def test_instances_anywhere_in_the_arguments_are_references():
    post, ticket = Post.objects.create(title="news"), Ticket.objects.create()
    job = greet.enqueue({"posts": [post], "ticket": (ticket,)})

    drain()

    assert '"$":"django","v":["shop.post"' in job.payload
    assert job.refresh().result == f"hello {{'posts': [{post!r}], 'ticket': ({ticket!r},)}}"


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_instances_reach_coroutines():
    post = Post.objects.create(title="news")

    async def request():
        job = await agreet.aenqueue(post)
        await adrain()
        return await job.arefresh()

    assert async_to_sync(request)().result == f"hello {post}"


def test_a_lazy_user_is_the_user():
    user = User.objects.create(username="ada")
    lazy = SimpleLazyObject(lambda: user)

    job = greet.enqueue(lazy)
    drain()

    assert job.refresh().result == "hello ada"


def test_a_lazy_row_s_methods_are_those_of_the_row():
    post = Post.objects.create(title="news")

    job = delay(SimpleLazyObject(lambda: post)).like(by=2)
    drain()

    assert job.refresh().result == 2


def test_a_lazy_text_is_a_text():
    assert perform(greet.draft(gettext_lazy("world"))) == "hello world"


@pytest.mark.dj(213, 353)
def test_primary_keys_may_be_of_any_type():
    ticket = Ticket.objects.create()

    assert perform(delay_draft(ticket)) == str(ticket.pk)


def delay_draft(ticket):
    from belayed.delaying import method_draft

    return method_draft(ticket, "ring", (), {}, {})


@pytest.mark.dj(213)
def test_rows_of_another_database_are_loaded_from_there():
    log = Log.objects.create(text="hello")
    job = delay(log).shout()

    drain()

    assert '"other"' in job.payload
    assert job.refresh().result == "HELLO"


@pytest.mark.dj(213, 353)
def test_a_row_that_a_default_manager_hides_is_loaded():
    post = Post.objects.create(title="news")
    job = delay(post).like()
    Post.objects.update(hidden=True)

    drain()

    assert job.refresh().result == 1


@pytest.mark.parametrize("make", [lambda: Post(title="new"), lambda: Post(pk=99, title="new")])
def test_an_unsaved_row_is_refused(make):
    with pytest.raises(NotSaved, match="this Post is not saved yet: save it before it is used in a job"):
        delay(make()).like()
    with pytest.raises(NotSaved, match=r"args\[0\]\[0\]: this Post is not saved yet"):
        greet.enqueue([make()])

    assert current().find() == []


def test_nobody_is_refused_too():
    with pytest.raises(Exception, match="AnonymousUser"):
        greet.enqueue(AnonymousUser())


def test_a_row_that_is_gone_is_an_error_of_the_job_as_any_other():
    post = Post.objects.create(title="news")
    job = delay(post).like()
    Post.objects.all().delete()

    with pytest.raises(ObjectNotFound, match=r"\['shop.post', \d+, 'default'\] .* is not in its database"):
        drain()

    assert (job.refresh().state, job.failures) == ("scheduled", 1)


@pytest.mark.parametrize("make", [lambda post: post.expire(), forgets.enqueue])
def test_a_job_may_be_discarded_when_its_row_is_gone(make):
    post = Post.objects.create(title="news")
    job = make(post)
    Post.objects.all().delete()

    drain()

    assert job.refresh().state == "cancelled"
    assert "is not in its database any more" in job.error


def test_a_job_may_fail_at_once_when_its_row_is_gone():
    post = Post.objects.create(title="news")
    job = post.archive()
    Post.objects.all().delete()

    drain(raises=False)

    assert job.refresh().state == "failed"


def test_a_field_that_is_called_as_a_hook_is_none():
    post = Post.objects.create(title="news", error="not a hook")
    job = likes_and_fails.using(max_attempts=1).enqueue(post)

    drain(raises=False)

    assert (job.refresh().state, job.error) == ("failed", "ValueError: no")


def test_a_model_of_an_installed_application_is_called_where_trust_names_it():
    user = User.objects.create(username="ada")
    with override_settings(BELAYED={"TRUST": ["shop", "django.contrib.auth"]}):
        delay(user).set_password("new")

        assert drain().succeeded == 1


@pytest.mark.parametrize(
    ("made", "what"),
    [
        (lambda: Post.objects.filter(title="News"), "is a query; pass the ids that it finds, or list(x)"),
        (lambda: RequestFactory().get("/"), "is a request; pass what the job needs of it, such as the user's id"),
        (lambda: Form({}), "is a form; pass x.cleaned_data, or what the job needs of it"),
        (lambda: SimpleUploadedFile("a.txt", b"x"), "is an uploaded file, which is gone after its request; save it"),
        (AnonymousUser, "is a user who has not logged in; pass None"),
    ],
)
def test_what_a_view_has_at_hand_is_refused_with_what_to_pass_instead(made, what):
    with pytest.raises(NotSerializable, match=re.escape(what)):
        greet.enqueue(made())


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
def test_a_plain_enqueue_in_a_coroutine_names_its_twin():
    async def request():
        greet.enqueue("ada")

    with pytest.raises(SynchronousOnlyOperation, match=r"`await f\.aenqueue\(…\)`"):
        async_to_sync(request)()
