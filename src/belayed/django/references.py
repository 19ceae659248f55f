"""Models in arguments: an instance travels as its label, primary key and database, and is loaded again by a job.

Keys come from rows that others may have written: each part is checked before it reaches Django, which would take a
class with `resolve_expression` for an expression, another row for its key, and an attribute of a model for a manager.
"""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.apps import apps
from django.core.exceptions import ValidationError
from django.core.mail import EmailMessage
from django.db import DataError, connections
from django.db.models import Model
from django.db.models.manager import BaseManager
from django.utils.functional import LazyObject, Promise, empty

from belayed.codec.refusals import Refused, shorten
from belayed.codec.registry import register_proxy, register_reference
from belayed.django.mail import refuse
from belayed.errors import BrokenPayload, UnknownPayload, UnknownTask
from belayed.mistakes import RESTART

MOST_DIGITS = 1000
PLAIN = frozenset({str, int, float, bytes, UUID, Decimal, datetime, date, time, timedelta})
"""The types of primary keys: exactly these, as a class of the application's could have methods that Django calls."""


def key_of(instance: Model) -> list[Any] | None:
    """What tells where an instance is; None: nowhere yet."""
    state = instance._state
    if instance.pk is None or state.adding:
        return None
    return [instance._meta.label_lower, primary_key_of(instance), state.db or "default"]


def primary_key_of(instance: Model) -> Any:
    """The primary key as a plain value: one of another type as the text that Django serializes it to."""
    field: Any = instance._meta.pk
    try:
        value = field.to_python(instance.pk)
    except (ValidationError, TypeError, ValueError):
        value = instance.pk
    return value if is_plain(value) else field.value_to_string(instance)


def is_plain(value: Any) -> bool:
    """Whether *value* may be a primary key; a tuple is one of several columns."""
    return type(value) in PLAIN or (type(value) is tuple and all(type(part) in PLAIN for part in value))


def load_instance(key: Any) -> Model | None:
    """The instance as it is now, also where a default manager would hide it; None: it is gone."""
    label, primary_key, alias = parts_of(key, 3)
    model = model_of(label)
    if type(alias) is not str:
        raise BrokenPayload(f"{shorten(alias)} is not the alias of a database")
    if alias not in connections.databases:
        raise UnknownPayload(f"{label}: DATABASES has no {alias!r}, but {', '.join(connections.databases)}")
    rows = model._base_manager.using(alias)
    try:
        return rows.filter(pk=checked_key(model, primary_key)).first()
    except DataError as error:
        raise BrokenPayload(f"{shorten(primary_key)} is not a primary key of {label}: {error}") from error


def checked_key(model: type[Model], primary_key: Any) -> Any:
    """The value to look for in the column of *model*'s primary key. Raises BrokenPayload."""
    field: Any = model._meta.pk
    try:
        value = field.to_python(primary_key) if is_plain(primary_key) and not is_vast(primary_key) else None
        if value is not None and (type(primary_key) is str or value == primary_key):
            return value
    except (ValidationError, TypeError, ValueError, ArithmeticError):
        pass
    raise BrokenPayload(f"{shorten(primary_key)} is not a primary key of {model._meta.label_lower}")


def is_vast(value: Any) -> bool:
    """Whether it is a Decimal of so many digits that to make an integer of it takes hours."""
    return isinstance(value, Decimal) and (not value.is_finite() or abs(value.adjusted()) > MOST_DIGITS)


def model_of(label: Any) -> type[Model]:
    """The model called *label* (`shop.post`). Raises BrokenPayload, or UnknownTask where it is not installed here."""
    if type(label) is not str or label.count(".") != 1:
        raise BrokenPayload(f"{shorten(label)} is not the label of a model; one is written application.model")
    try:
        model: type[Model] = apps.get_model(label)
    except LookupError as error:
        raise UnknownTask(
            f"this worker has no model {label} ({error}); {RESTART}, or deploy the code that has it"
        ) from error
    if model._meta.swapped:
        raise UnknownTask(f"{label} has been swapped for {model._meta.swapped} in this worker's project")
    return model


def parts_of(key: Any, count: int) -> list[Any]:
    """The parts of a saved key. Raises BrokenPayload."""
    if type(key) is not list or len(key) != count:
        raise BrokenPayload(f"{shorten(key)} does not say where a row or a manager is")
    return key


def key_of_manager(manager: Any) -> list[str]:
    """Which manager of which model it is."""
    if hasattr(manager, "instance") or manager.model is None or not manager.name:
        raise Refused("is the manager of a relation", "pass the object that it is of, and ask that in the job")
    label, declared = manager.model._meta.label_lower, manager.model._meta.managers_map
    if type(declared.get(manager.name)) is not type(manager):
        raise Refused(
            f"{shorten(manager)} is none of the managers that {label} declares", f"pass one of {', '.join(declared)}"
        )
    return [label, manager.name]


def load_manager(key: Any) -> Any:
    """A manager that the model declares: never another attribute of the model, such as a column or a method."""
    label, name = parts_of(key, 2)
    model = model_of(label)
    if type(name) is not str:
        raise BrokenPayload(f"{shorten(name)} is not the name of a manager")
    declared = model._meta.managers_map
    if name not in declared:
        raise UnknownTask(f"{label} has no manager {name!r} in this worker's code, but {', '.join(declared)}")
    return declared[name]


def kind_of_manager(key: Any) -> type:
    """The class of a manager."""
    return type(load_manager(key))


def content(lazy: LazyObject) -> Any:
    """What is behind a lazy object such as `request.user`."""
    if lazy._wrapped is empty:
        lazy._setup()
    return lazy._wrapped


def install() -> None:
    """Teach the codec Django's models."""
    register_reference(Model, name="django", key=key_of, load=load_instance, kind=lambda key: model_of(key[0]))
    register_reference(BaseManager, name="django.manager", key=key_of_manager, load=load_manager, kind=kind_of_manager)
    register_proxy(LazyObject, content)
    register_proxy(Promise, str)
    register_proxy(EmailMessage, refuse)
