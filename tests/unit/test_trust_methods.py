"""Which methods a row may call: those whose code is the application's, whatever they lie in and are called."""

from __future__ import annotations

import json
import pickle
import threading
from datetime import timedelta
from typing import Any

import pytest

from belayed import handle_asynchronously
from belayed.codec import Codec
from belayed.errors import NotTrusted, OptionError, PayloadError, UnknownTask, UntrustedPayload
from belayed.payload import FunctionCall, MethodCall, load, performance
from belayed.trust import Trust
from tests.traps import app
from tests.traps.attack import APP, attacked, traplib


def name(qualname: str) -> dict[str, Any]:
    return {"$": "name", "v": f"{APP}:{qualname}"}


def record(tag: str, cls: str, fields: Any = None, rest: Any = None) -> dict[str, Any]:
    return {"$": tag, "v": [f"{APP}:{cls}", fields or {}, *([rest] if rest else [])]}


def method(subject: Any, called: str, *args: Any, **kwargs: Any) -> str:
    return json.dumps({"v": 1, "self": subject, "method": called, "args": args, "kwargs": kwargs})


def of(cls: str, called: str, *args: Any) -> str:
    return json.dumps({"v": 1, "of": f"{APP}:{cls}", "method": called, "args": args, "kwargs": {}})


def call(qualname: str, *args: Any) -> str:
    return json.dumps({"v": 1, "call": f"{APP}:{qualname}", "args": args, "kwargs": {}})


def custom(cls: str, **fields: Any) -> str:
    return json.dumps({"v": 1, "class": f"{APP}:{cls}", "fields": fields})


SUBJECTS: dict[str, Any] = {
    "a class": name("Plain"),
    "a dataclass": record("dataclass", "Data"),
    "an attrs class": record("attrs", "Defined"),
    "a class with a foreign metaclass": name("Odd"),
}
NAMES = sorted(key for key in vars(app.Names) if not key.startswith("__"))
FOREIGN = [
    *NAMES,
    "inherited",
    "_private",
    "parse_raw",
    "static",
    "lazily",
    "unheard_of",
    "of_meta",
    "property_of_meta",
]


@pytest.mark.parametrize("called", FOREIGN)
def test_a_row_runs_no_attribute_that_leads_out_of_the_application(called):
    for subject in SUBJECTS.values():
        attack = attacked(method(subject, called, "x"))

        assert isinstance(attack.error, PayloadError)
        assert (attack.sprung, attack.ran) == ([], [])
    attack = attacked(of("Plain", called, "x"))
    assert isinstance(attack.error, PayloadError)
    assert (attack.sprung, attack.ran) == ([], [])


PICKLED = pickle.dumps(traplib.armed()).decode("latin1")


@pytest.mark.parametrize(
    "called", ["parse_raw", "parse_obj", "construct", "model_construct", "from_orm", "copy", "json"]
)
@pytest.mark.parametrize("subject", [name("Model"), record("pydantic", "Model")], ids=["class", "object"])
def test_what_a_model_inherits_from_pydantic_is_no_job(subject, called):
    attack = attacked(method(subject, called, PICKLED, allow_pickle=True, proto="pickle"))

    assert isinstance(attack.error, UntrustedPayload)
    assert f"{called} is not the application's own code: it is defined in 'pydantic." in str(attack.error)
    assert "configure(trust=['pydantic', …])" in str(attack.error)
    assert attack.sprung == []


@pytest.mark.parametrize("called", ["start", "run", "join", "_bootstrap"])
def test_what_a_thread_inherits_is_no_job(called):
    attack = attacked(of("Thread", called))

    assert isinstance(attack.error, UntrustedPayload)


@pytest.mark.parametrize("value", [name("honest"), name("Plain"), name("registered"), "text", 5, {"a": [1]}])
@pytest.mark.parametrize("called", ["greet", "perform", "before", "success", "reschedule_at", "backoff", "unheard_of"])
def test_what_a_row_sets_on_an_object_never_stands_for_a_method(called, value):
    rows = [
        method(record("dataclass", "Data", {}, {called: value}), called),
        method(record("attrs", "Defined", {}, {called: value}), called),
        custom("Plain", **{called: value}),
    ]

    for row in rows:
        attack = attacked(row)

        assert attack.sprung == []
        assert not {"honest", "registered"} & set(attack.ran)


@pytest.mark.parametrize("called", ["action", "old"])
@pytest.mark.parametrize("value", [name("honest"), name("Moved"), name("registered")])
def test_a_field_is_no_method(called, value):
    attack = attacked(method(record("dataclass", "Data", {called: value}), called))

    assert isinstance(attack.error, PayloadError)
    assert (attack.sprung, attack.ran) == ([], [])


@pytest.mark.parametrize("cls", ["Idle", "Hooking", "Ending", "Settings"])
def test_a_custom_job_that_would_run_what_it_inherits_is_refused(cls):
    attack = attacked(custom(cls))

    assert isinstance(attack.error, PayloadError)
    assert (attack.sprung, attack.ran) == ([], [])


@pytest.mark.parametrize(
    ("fields", "rest"),
    [
        ({}, {"lazily": 1}),
        ({}, {"setter": name("honest")}),
        ({}, {"asked": name("honest")}),
        ({}, {"__class__": name("Moved")}),
        ({}, {"__dict__": {"greet": name("honest")}}),
        ({"action": name("honest")}, {"greet": name("honest")}),
    ],
)
@pytest.mark.parametrize("tag", ["dataclass", "attrs"])
def test_to_rebuild_an_object_runs_nothing_of_others(tag, fields, rest):
    cls = {"dataclass": "Data", "attrs": "Defined"}[tag]
    fields = fields if tag == "dataclass" else {}

    attack = attacked(method(record(tag, cls, fields, rest), "greet"))

    assert attack.sprung == []


def test_a_field_that_a_library_takes_the_value_of_is_not_set():
    attack = attacked(method(record("dataclass", "Described", {"lazily": 5}), "greet"))

    assert (type(attack.error).__name__, attack.sprung) == ("SignatureChanged", [])
    assert "'lazily' is set by code that workers may not run" in str(attack.error)


@pytest.mark.parametrize("row", [custom("Watched"), of("Watched", "greet"), custom("Odd"), call("honest", name("Odd"))])
def test_what_is_of_the_application_runs_unwatched_by_what_it_inherits(row):
    attack = attacked(row)

    assert (attack.error, attack.sprung) == (None, [])
    assert len(attack.ran) == 1


@pytest.mark.parametrize("key", ["set", "frozenset", "dict"])
def test_what_a_record_inherits_to_be_compared_by_is_not_asked(key):
    records = [record("dataclass", "Data"), record("dataclass", "Data")]
    value = {"$": key, "v": [[one, 1] for one in records] if key == "dict" else records}

    attack = attacked(call("honest", value))

    assert isinstance(attack.error, PayloadError)
    assert attack.sprung == []


@pytest.mark.parametrize(
    "qualname",
    [
        "loads", "system", "popen", "importer", "partial", "armed", "lying", "posing", "cached", "retried", "Foreign",
        "library", "library.system", "overloaded", "anonymous", "Moved2", "Moved.parse_raw", "Names.read", "Names.run",
        "Names.shell", "Names.load", "Names.make", "Names.getter", "Names.setter", "Names.bound", "Names.asked",
        "Names.asked_once", "Names.wrapped", "honest.__globals__", "honest.__call__", "Plain.__init__", "Odd.of_meta",
        "Odd.property_of_meta", "Odd.unheard_of", "unheard_of", "Data.__dataclass_fields__", "Colour.RED",
        "__getattr__",
        "Plain.__class__", "Plain.mro", "Model.parse_raw", "Model.model_fields", "Decorated.cached.__wrapped__",
    ],
)  # fmt: skip
def test_a_name_leads_to_nothing_but_the_applications_own_functions_and_classes(qualname):
    for row in (call(qualname, "x"), call("honest", name(qualname)), custom(qualname), of(qualname, "greet")):
        attack = attacked(row)

        assert isinstance(attack.error, PayloadError)
        assert (attack.sprung, attack.ran) == ([], [])


@pytest.mark.parametrize("cls", ["Odd", "Plain", "Model", "Moved"])
def test_a_class_is_no_function_that_a_row_may_call(cls):
    attack = attacked(call(cls))

    assert (type(attack.error).__name__, attack.sprung) == ("UnknownTask", [])


WORKING = [key for key in vars(app.Decorated) if not key.startswith("__") and "handled" not in key]


@pytest.mark.parametrize("called", WORKING)
def test_methods_of_the_applications_under_decorators_of_others_are_jobs(called):
    call = MethodCall("", app.Decorated(), called, (), {})
    codec = Codec(Trust())

    loaded = load(call.write(codec), codec)

    assert loaded.call() == ("_private" if called == "renamed" else called)


def test_a_method_that_a_library_has_replaced_can_be_permitted_by_its_package():
    row = method(record("dataclass", "Data"), "inherited")

    attack = attacked(row, "tests", "traplib")

    assert attack.result == "Base.inherited"


class Reopened(app.Plain):
    """What it inherits it permits by writing it again."""

    def inherited(self, *args: Any) -> Any:
        return super().inherited(*args)


def test_a_method_of_a_library_s_that_is_written_again_is_a_job():
    codec = Codec(Trust())
    call = MethodCall("", Reopened(), "inherited", (), {})

    assert load(call.write(codec), codec).call() == "Base.inherited"


class Permitting(traplib.Base):
    permitted = handle_asynchronously(traplib.Base.inherited)


def test_a_method_of_a_library_s_that_is_declared_in_the_class_is_a_job():
    codec = Codec(Trust())
    call = MethodCall("", Permitting(), "permitted", (), {})

    assert load(call.write(codec), codec).call() == "Base.inherited"


def test_what_is_bound_to_a_class_in_its_place_by_the_application_counts(monkeypatch):
    monkeypatch.setattr(app.Plain, "greet", lambda self: "patched")

    assert attacked(of("Plain", "greet")).result == "patched"


@pytest.mark.parametrize("called", [*NAMES, "inherited", "parse_raw", "static", "lazily", "unheard_of"])
def test_the_enqueue_refuses_the_methods_that_a_worker_would(called):
    call = MethodCall("", app.Plain(), called, (), {})

    with pytest.raises(NotTrusted, match=rf"delay\(a Plain\)\.{called}: a Plain"):
        call.write(Codec(Trust()))


def test_the_enqueue_refuses_a_method_that_is_set_on_the_object():
    plain = app.Money(1)
    plain.greet = app.honest

    with pytest.raises(NotTrusted, match="is an attribute of this object, and workers call what its class has"):
        MethodCall("", plain, "greet", (), {}).write(Codec(Trust()))


@pytest.mark.parametrize(
    ("job", "error", "message"),
    [
        (app.Idle, NotTrusted, r"a Idle\.perform is not the application's own code: it is defined in 'traplib'"),
        (app.Hooking, NotTrusted, r"a Hooking\.before is not the application's own code"),
        (app.Ending, NotTrusted, "runs code at its end, Ending.__del__, that workers may not run"),
        (app.Settings, Exception, "would come back as a plain dict"),
    ],
)
def test_the_enqueue_refuses_the_custom_jobs_that_a_worker_would(job, error, message):
    with pytest.raises(error, match=message):
        performance(job()).write(Codec(Trust()))
    traplib.sprung.clear()


@pytest.mark.parametrize("attribute", ["perform", "before", "reschedule_at"])
def test_the_enqueue_refuses_a_hook_that_is_set_on_the_object(attribute):
    job = Dated()
    vars(job)[attribute] = app.honest

    with pytest.raises(OptionError, match=f"its {attribute} is an attribute of this object"):
        performance(job)


class Dated:
    """What it is called and what a hook is called are the same, and it is no method."""

    before = "yesterday"
    backoff = timedelta(minutes=2)

    def __init__(self) -> None:
        self.after = "tomorrow"

    def perform(self) -> str:
        return f"{self.before} {self.after}"


def test_values_that_have_the_names_of_hooks_are_left_alone():
    codec = Codec(Trust())
    loaded = load(performance(Dated()).write(codec), codec)

    assert loaded.call() == "yesterday tomorrow"
    assert loaded.rules.wait(1) == 120


def test_rules_of_a_row_s_own_are_not_the_job_s():
    text = json.dumps(
        {"v": 1, "class": f"{__name__}:Dated", "fields": {"backoff": {"$": "timedelta", "v": [9, 0, 0]}, "retry_on": 5}}
    )

    assert load(text, Codec(Trust())).rules.wait(1) == 120


@pytest.mark.parametrize("ref", ["Decorated.renamed", "Moved.parse_raw", "lying"])
def test_the_enqueue_refuses_the_functions_that_a_worker_would(ref):
    codec = Codec(Trust())
    with pytest.raises(UntrustedPayload):
        load(call(ref), Codec(Trust(["traplib"])))

    if ref != "Decorated.renamed":
        with pytest.raises(NotTrusted, match="is not defined in"):
            FunctionCall("", f"{APP}:{ref}", (), {}).write(codec)


def test_a_method_that_is_not_there_is_of_no_use_to_this_worker():
    with pytest.raises(UnknownTask, match="a Plain has no method nothing in this worker's code"):
        load(of("Plain", "nothing"), Codec(Trust()))


def test_to_judge_a_method_again_costs_next_to_nothing():
    trust = Trust()
    assert trust.runs(vars(app.Plain)["greet"])
    looked_at: list[Any] = []
    trust.owns = looked_at.append  # type: ignore[method-assign]

    assert trust.runs(vars(app.Plain)["greet"])

    assert looked_at == []


def test_threads_are_there_to_be_refused():
    assert issubclass(app.Thread, threading.Thread)
