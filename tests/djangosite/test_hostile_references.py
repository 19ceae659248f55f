"""References in rows that somebody wrote by hand: what they may lead to."""

from __future__ import annotations

import json

import pytest
from django.db import connection
from rows import ADA, POSTS, argument, outcome, written
from shop.models import Post
from shop.tasks import greet

from belayed import State
from belayed.errors import NotSerializable
from belayed.testing import drain

pytestmark = pytest.mark.django_db(databases=["default", "other"])


@pytest.mark.parametrize(
    "name",
    ["password", "likes", "like", "delete", "_meta", "DoesNotExist", "__setattr__", "check", "pk", "_base_manager", "",
     "objects.model", None, 1, ["objects"], {"$": "name", "v": "shop.models:Post"}],
    ids=repr,
)  # fmt: skip
@pytest.mark.parametrize("model", ["shop.post", "auth.user"])
def test_a_manager_s_place_is_no_way_to_other_attributes(model, name):
    state, kind = outcome(written(argument("django.manager", [model, name])))

    assert state is not State.SUCCEEDED
    assert kind in ("BrokenPayload", "UnknownTask")


KEYS = {
    "a model that is not there": (["shop.nothing", 1, "default"], "UnknownTask"),
    "an application that is not there": (["nowhere.post", 1, "default"], "UnknownTask"),
    "a path": (["shop.models.Post", 1, "default"], "BrokenPayload"),
    "a module": (["antigravity", 1, "default"], "BrokenPayload"),
    "no label": ([["shop", "post"], 1, "default"], "BrokenPayload"),
    "a class as the label": ([{"$": "name", "v": "shop.models:Post"}, 1, "default"], "BrokenPayload"),
    "a database that is not there": (["shop.post", 1, "nowhere"], "UnknownPayload"),
    "no database": (["shop.post", 1, None], "BrokenPayload"),
    "a list as the database": (["shop.post", 1, ["default"]], "BrokenPayload"),
    "too little": (["shop.post", 1], "BrokenPayload"),
    "too much": (["shop.post", 1, "default", 1], "BrokenPayload"),
    "a text": ("shop.post", "BrokenPayload"),
    "nothing": (None, "BrokenPayload"),
    "a dict": ({"label": "shop.post"}, "BrokenPayload"),
    "a lookup": (["shop.post", {"in": [1]}, "default"], "BrokenPayload"),
    "a list of keys": (["shop.post", [1, 2], "default"], "BrokenPayload"),
    "a tuple of keys": (["shop.post", {"$": "tuple", "v": [1]}, "default"], "BrokenPayload"),
    "no key": (["shop.post", None, "default"], "BrokenPayload"),
    "a word": (["shop.post", "one", "default"], "BrokenPayload"),
    "a vast number": (["shop.post", {"$": "decimal", "v": "1E+300000000"}, "default"], "BrokenPayload"),
    "half a key": (["shop.post", 1.5, "default"], "BrokenPayload"),
    "a class as the key": (["shop.post", {"$": "name", "v": "shop.models:Post"}, "default"], "BrokenPayload"),
    "a row as the key": (["shop.post", {"$": "django", "v": ["auth.user", 1, "default"]}, "default"], "BrokenPayload"),
    "a manager as the key": (["shop.post", {"$": "django.manager", "v": POSTS}, "default"], "BrokenPayload"),
    "no UUID": (["shop.ticket", "one", "default"], "BrokenPayload"),
    "a number for a UUID": (["shop.ticket", 2**200, "default"], "BrokenPayload"),
    "a NUL": (["sessions.session", "a\0", "default"], "BrokenPayload"),
}


@pytest.mark.parametrize("case", KEYS)
def test_a_reference_is_a_model_a_key_and_a_database(case, ada):
    key, wanted = KEYS[case]
    Post.objects.create(pk=1, title="news")
    if case == "a NUL" and connection.vendor == "sqlite":
        wanted = "ObjectNotFound"

    state, kind = outcome(written(argument("django", key)))

    assert state is not State.SUCCEEDED
    assert kind == wanted


def test_a_key_that_no_column_holds_is_of_no_row():
    assert outcome(written(argument("django", ["shop.post", 2**70, "default"])))[1] == "ObjectNotFound"


def test_a_row_as_a_result_is_a_reference(ada):
    job = written({"v": 1, "call": "shop.tasks:same", "args": [{"$": "django", "v": ADA}], "kwargs": {}})

    drain()

    with connection.cursor() as cursor:
        cursor.execute("SELECT result FROM belayed_history WHERE id = %s", [job.id])
        (kept,) = cursor.fetchone()
    assert json.loads(kept) == {"$": "django", "v": ADA}
    assert ada.password not in kept


def test_managers_that_are_not_the_model_s_own_are_refused_at_the_enqueue():
    with pytest.raises(NotSerializable, match=r"none of the managers that shop\.post declares"):
        greet.enqueue(Post._base_manager)
