"""Models in arguments: an instance travels as its label, primary key and database, and is loaded again by a job."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.core.mail import EmailMessage
from django.db.models import Model
from django.db.models.manager import BaseManager
from django.utils.functional import LazyObject, Promise, empty

from belayed.codec.refusals import Refused
from belayed.codec.registry import register_proxy, register_reference
from belayed.django.mail import refuse


def key_of(instance: Model) -> list[Any] | None:
    """What tells where an instance is; None: nowhere yet."""
    state = instance._state
    if instance.pk is None or state.adding:
        return None
    return [instance._meta.label_lower, instance.pk, state.db or "default"]


def load_instance(key: list[Any]) -> Model | None:
    """The instance as it is now, also where a default manager would hide it; None: it is gone."""
    label, primary_key, alias = key
    found: Model | None = apps.get_model(label)._base_manager.using(alias).filter(pk=primary_key).first()
    return found


def key_of_manager(manager: Any) -> list[str]:
    """Which manager of which model it is."""
    if hasattr(manager, "instance") or manager.model is None or not manager.name:
        raise Refused("is the manager of a relation", "pass the object that it is of, and ask that in the job")
    return [manager.model._meta.label_lower, manager.name]


def load_manager(key: list[str]) -> Any:
    label, name = key
    return getattr(apps.get_model(label), name, None)


def content(lazy: LazyObject) -> Any:
    """What is behind a lazy object such as `request.user`."""
    if lazy._wrapped is empty:
        lazy._setup()
    return lazy._wrapped


def install() -> None:
    """Teach the codec Django's models."""
    register_reference(Model, name="django", key=key_of, load=load_instance, kind=lambda key: apps.get_model(key[0]))
    register_reference(BaseManager, name="django.manager", key=key_of_manager, load=load_manager)
    register_proxy(LazyObject, content)
    register_proxy(Promise, str)
    register_proxy(EmailMessage, refuse)
