"""Rows of every form that there is, and of none, against an application full of traps: none of them ever springs."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from belayed.claim import meta_of
from belayed.codec import Codec
from belayed.definitions import attribute, is_class, is_method
from belayed.errors import EnqueueError, PayloadError
from belayed.methods import HOOKS, RULES
from belayed.trust import Trust
from tests.traps import app
from tests.traps.attack import APP, Attack, attacked, traplib, watched

CLASSES = sorted(key for key, value in vars(app).items() if is_class(value))
OWN = [key for key in CLASSES if vars(app)[key].__module__ == APP and key != "Decorated"]
OF_CLASSES = sorted({key for cls in CLASSES for base in vars(app)[cls].__mro__ for key in vars(base)})
ODD = [
    "__class__",
    "__dict__",
    "__globals__",
    "__wrapped__",
    "__func__",
    "__subclasses__",
    "unheard_of",
    "mro",
    "of_meta",
]
SPECIAL = [
    "__init__",
    "__new__",
    "__call__",
    "__reduce__",
    "__setstate__",
    "__getattr__",
    "__del__",
    "__init_subclass__",
]
ATTRIBUTES = [*(key for key in OF_CLASSES if not key.startswith("__")), *ODD, *SPECIAL, *HOOKS, *RULES, "perform"]
FOREIGN = [
    "os:system", "posix:system", "pickle:loads", "_pickle:loads", "subprocess:Popen", "subprocess:run", "builtins:eval",
    "builtins:exec", "builtins:__import__", "importlib:import_module", "this:s", "antigravity:geohash", "shutil:rmtree",
    "traplib:system", "traplib:Base.static", "traplib_bait:run", "traplib:Dangerous", "belayed.trust:resolve",
    "belayed.payload:load", "belayed:configure", "pydantic:BaseModel", "pydantic.main:BaseModel.parse_raw",
    "os:path.join", f"{APP}.traplib:system", f"{APP}.pickle:loads", "__main__:main", "tests.traps.nowhere:run",
    "nowhere:run", "os", ":x",
]  # fmt: skip


def either(*choices: Any) -> Any:
    """One of the strategies, each as often as any other, however many choices each of them has."""
    return st.sampled_from(range(len(choices))).flatmap(lambda index: choices[index])


modules = st.just(APP)
own = st.sampled_from(OWN)
qualnames = either(
    st.sampled_from(sorted(vars(app))),
    own,
    st.builds("{}.{}".format, own, st.sampled_from(ATTRIBUTES)),
    st.builds("{}.{}.{}".format, own, st.sampled_from(ATTRIBUTES), st.sampled_from(ODD)),
    st.builds("{}.{}".format, st.sampled_from(sorted(vars(app))), st.sampled_from(ODD)),
    st.just("honest"),
)
refs = either(*[st.builds(f"{APP}:{{}}".format, qualnames)] * 5, st.sampled_from(FOREIGN))
called = either(
    st.sampled_from(ATTRIBUTES), st.just("greet"), st.just("perform"), st.sampled_from(sorted(vars(app.Names)))
)
scalars = st.sampled_from(
    [None, True, 0, 1, -1, 2.5, "", "x", "1", "RED", "READ", "Europe/Berlin", "2024-01-01", "traps.row"]
)
KINDS = {
    "dataclass": ["Data", "Described"],
    "attrs": ["Defined"],
    "namedtuple": ["Named"],
    "pydantic": ["Model"],
    "enum": ["Colour", "Rights"],
}


def tagged(tag: Any, plain: Any) -> Any:
    return st.fixed_dictionaries({"$": tag if isinstance(tag, st.SearchStrategy) else st.just(tag), "v": plain})


def records(values: Any) -> Any:
    """Objects of classes with fields, by their own tag or another's, with fields that they may not have, and more."""
    keys = either(
        st.sampled_from(["old", "action", "lazily", "_hidden"]), called, st.sampled_from(["private", "model_extra"])
    )
    fields = st.dictionaries(st.sampled_from(["old", "old", "action", "lazily"]), values, max_size=2)
    rest = st.dictionaries(keys, values, max_size=2)
    matching = [
        tagged(tag, st.builds(lambda *parts: list(parts), st.just(f"{APP}:{cls}"), fields, *more))
        for tag, classes in KINDS.items()
        for cls in classes
        for more in ((), (rest,))
        if tag != "enum"
    ]
    enums = tagged(
        "enum", st.tuples(st.sampled_from([f"{APP}:Colour", f"{APP}:Rights"]), either(scalars, st.just("RED")))
    )
    strange = tagged(st.sampled_from([*KINDS, "class"]), st.tuples(refs, fields, rest))
    return either(*matching, enums.map(listed), strange.map(listed))


def listed(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "v": list(value["v"])}


def around(values: Any) -> Any:
    lists = st.lists(values, max_size=3)
    leaves = [
        "datetime",
        "date",
        "time",
        "timedelta",
        "uuid",
        "decimal",
        "bytes",
        "path",
        "traps.row",
        "traps.money",
        "?",
    ]
    return either(
        tagged("name", refs),
        records(values),
        records(values),
        tagged(st.sampled_from(["tuple", "set", "frozenset"]), lists),
        tagged("dict", st.lists(st.tuples(values, values).map(list), max_size=2)),
        tagged(st.sampled_from(leaves), either(scalars, values, lists)),
        st.dictionaries(either(called, st.just("a")), values, max_size=2),
        lists,
        tagged("traps.row", st.just(1)),
        tagged("traps.money", values),
    )


names = tagged("name", refs)
classes = st.builds(f"{APP}:{{}}".format, own)
values = around(either(scalars, names, around(either(scalars, names, around(either(scalars, names))))))
arguments = {"args": st.lists(values, max_size=2), "kwargs": st.dictionaries(called, values, max_size=1)}
none = {"args": st.just([]), "kwargs": st.just({})}
tasks = st.sampled_from(["traps.registered", "honest", f"{APP}.honest", "os.system", ""])
fields = st.dictionaries(either(called, st.just("old")), values, max_size=2)
FORMS: dict[str, Any] = {
    "call": {"call": refs, **arguments},
    "task": {"task": tasks, "call": refs, **arguments},
    "self": {"self": values, "method": called, **arguments},
    "self without arguments": {"self": either(names, records(values)), "method": called, **none},
    "of": {"of": either(refs, classes), "method": called, **none},
    "class": {"class": either(refs, classes), "fields": fields},
    "perform": {"perform": either(values, records(values))},
    "mixed": {"call": refs, "of": refs, "method": called, "self": values, **none},
}
version = st.just(1)
regular = either(*(st.fixed_dictionaries({"v": version, **form}) for form in FORMS.values()))
# Any part of a row may be any value.
odd = either(
    *(
        st.fixed_dictionaries({"v": version, **form, part: values})
        for form in FORMS.values()
        for part in ("v", *form, "task")
    )
)
rows = either(regular, regular, odd)

ALLOWED = {"zoneinfo", "tzdata", "_strptime", "encodings", "importlib", "asyncio"}
"""Packages of which reading a value may import more."""


@pytest.fixture(autouse=True)
def bait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(Path(traplib.__file__).parent)


def form_of(row: dict[str, Any]) -> str:
    return next(name for name in ("perform", "class", "of", "self", "task", "call") if name in row)


fuzzed = settings(
    max_examples=600,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    database=None,
)


def test_no_row_springs_a_trap() -> None:
    workers, seen = [Codec(Trust()), Codec(Trust([APP]))], Counter[str]()

    @seed(17)
    @fuzzed
    @given(rows, st.sampled_from(workers))
    def springs(row: dict[str, Any], codec: Codec) -> None:
        attack = Attack(codec).run(json.dumps(row))

        assert attack.sprung == []
        assert not {"a property", "a cached property", "anonymous"} & set(attack.ran)
        assert {name for name in attack.imported if name.partition(".")[0] not in ALLOWED} <= {APP}
        seen[f"{form_of(row)} {'ran' if attack.ran else type(attack.error).__name__}"] += 1

    springs()

    # The grammar gets somewhere: each form of row runs what is the application's, and is refused what is not.
    for form in ("perform", "class", "of", "self", "task", "call"):
        assert seen[f"{form} ran"] > 0, seen
        assert seen[f"{form} UntrustedPayload"] > 0, seen


@seed(18)
@fuzzed
@given(values)
def test_no_result_springs_a_trap(value: Any) -> None:
    codec, sprung = Codec(Trust()), list[str]()
    traplib.sprung.clear()

    with watched(sprung):
        try:
            # What a job returns may be what its row brought.
            codec.encode(codec.loads(json.dumps(value)), "result")
        except (PayloadError, EnqueueError) as error:
            str(error)

    assert (sprung, traplib.sprung) == ([], [])


@seed(19)
@settings(max_examples=50, database=None)
@given(values)
def test_meta_is_never_more_than_json(value: Any) -> None:
    text = json.dumps({"meta": value})

    assert json.dumps(meta_of(text)) == text


def test_every_attribute_of_every_class_is_safe_to_name() -> None:
    """Without chance: each class of the application, each name that it or its bases have, in each form of a call."""
    for cls in OWN:
        for key in sorted({key for base in vars(app)[cls].__mro__ for key in vars(base)}):
            for row in (
                {"self": {"$": "name", "v": f"{APP}:{cls}"}, "method": key},
                {"of": f"{APP}:{cls}", "method": key},
                {"call": f"{APP}:{cls}.{key}"},
            ):
                attack = attacked(json.dumps({"v": 1, "args": [], "kwargs": {}, **row}), APP)

                assert attack.sprung == [], (cls, key, row)


def test_the_traps_are_armed() -> None:
    """They spring when they are touched: else the tests above would show nothing."""
    sprung: list[str] = []
    traplib.sprung.clear()

    with watched(sprung):
        for key in ("inherited", "lazily", "unheard_of", "getter"):
            getattr(object.__new__(app.Plain), key)
        app.Odd.unheard_of  # type: ignore[attr-defined]
        app.Names.run()
        app.loads(b"N.")

    assert {"system", "Base.lazily", "Base.__getattr__(unheard_of)", "Getter.__get__"} <= set(traplib.sprung)
    assert {"loads was called", "Meta.__getattr__ was called"} <= set(sprung)
    assert "traplib_bait" not in sys.modules
    assert is_method(attribute(app.Names, "run"))
