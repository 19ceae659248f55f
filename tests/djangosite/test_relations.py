"""Relations of a project's models to those of jobs."""

from __future__ import annotations

import pytest
from django.core import checks
from django.db import models
from django.test.utils import isolate_apps

from belayed.django import checks as ours
from belayed.django.models import EndedJob, LiveJob

NOTHING = {"on_delete": models.DO_NOTHING}
KINDS = {
    "ForeignKey": lambda to: models.ForeignKey(to, **NOTHING),
    "OneToOneField": lambda to: models.OneToOneField(to, **NOTHING),
    "ManyToManyField": models.ManyToManyField,
}


def found(monkeypatch, apps):
    monkeypatch.setattr(ours, "apps", apps)
    return [message.id for message in ours.relations(None)]


@pytest.mark.parametrize("to", [LiveJob, EndedJob])
@pytest.mark.parametrize("kind", KINDS)
def test_a_relation_to_a_job_is_an_error(monkeypatch, kind, to):
    with isolate_apps("shop") as apps:

        class Order(models.Model):
            job = KINDS[kind](to)

            class Meta:
                app_label = "shop"

        assert found(monkeypatch, apps) == ["belayed.E004"]


def test_a_model_that_inherits_from_a_job_is_an_error(monkeypatch):
    with isolate_apps("shop") as apps:

        class Special(LiveJob):
            class Meta:
                app_label = "shop"

        assert found(monkeypatch, apps) == ["belayed.E004"]


def test_relations_without_a_constraint_and_plain_ids_are_well(monkeypatch):
    with isolate_apps("shop") as apps:

        class Order(models.Model):
            job = models.ForeignKey(LiveJob, db_constraint=False, **NOTHING)
            jobs = models.ManyToManyField(LiveJob, db_constraint=False, related_name="+")
            job_number = models.BigIntegerField(null=True)
            owner = models.ForeignKey("auth.User", **NOTHING)

            class Meta:
                app_label = "shop"

        assert found(monkeypatch, apps) == []


def test_the_check_is_one_of_those_that_manage_py_runs():
    assert ours.relations in checks.registry.registry.get_checks()
    assert checks.run_checks(tags=["models"]) == []
