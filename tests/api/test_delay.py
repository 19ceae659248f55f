"""`delay(obj).method(…)` and the mix-in `Delayable`: any call, later."""

from __future__ import annotations

import copy
import json
import pickle
import pprint
import string
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from belayed import Delayable, adelay, delay, handle_asynchronously, task
from belayed.errors import NotImportable, NotSerializable, NotTrusted, OptionError
from tests.api.rows import saved_by_hand


@dataclass
class Account(Delayable):
    number: int
    rank = 4

    def credit(self, amount: int, *, note: str = "") -> str:
        return f"{self.number} + {amount}{note}"

    def _audit(self) -> str:
        return f"{self.number} audited"

    async def acredit(self, amount: int) -> str:
        return f"{self.number} + {amount}"

    def _double(self) -> int:
        return self.number * 2

    @handle_asynchronously(queue="decorated", priority=lambda self: self.rank)
    def charge(self, amount: int) -> str:
        return f"{self.number} - {amount}"

    @classmethod
    def opened(cls, number: int) -> str:
        return f"{cls.__name__} {number}"

    @staticmethod
    def summed(amounts: list[int]) -> int:
        return sum(amounts)


class Premium(Account):
    @classmethod
    def opened(cls, number: int) -> str:
        return "premium " + super().opened(number)


@dataclass
class Loose:
    def taking(*args, **kwargs):
        return [len(args), kwargs]


@dataclass
class Parcel:
    delay: int

    def send(self) -> str:
        return f"in {self.delay} days"


told: list[str] = []


@dataclass
class Order:
    """It has what hooks and settings of custom jobs are called, and means something else by it."""

    error: str = ""
    queue: str = "at the counter"
    max_attempts: int = 1

    def ship(self, *, lost: bool = False) -> str:
        if lost:
            raise LookupError("lost on the way")
        return "shipped"

    def before(self, *dates: object) -> None:
        told.append("before")

    def success(self) -> None:
        told.append("success")

    def failure(self) -> None:
        told.append("failure")

    def after(self, *dates: object) -> None:
        told.append("after")


def tidy(folder: str, depth: int = 1) -> str:
    return f"{folder} to {depth}"


@task(queue="tasks", name="tests.delayed_task")
def a_task(number: int) -> int:
    return number


@handle_asynchronously(queue="handled")
def handled(number: int) -> int:
    return number + 1


def touch(path: str) -> None:
    Path(path).touch()


class Later:
    """Calls through `delay` or `adelay`: `later(do, obj, **options).method(…)`."""

    def __init__(self, do, proxies):
        self.do, self.proxies = do, proxies

    def __getattr__(self, name):
        return lambda *args, **kwargs: self.do(Both(self.proxies, name), "call", *args, **kwargs)


class Both:
    def __init__(self, proxies, name):
        self.proxies, self.name = proxies, name

    def call(self, *args, **kwargs):
        return getattr(self.proxies[0], self.name)(*args, **kwargs)

    async def acall(self, *args, **kwargs):
        return await getattr(self.proxies[1], self.name)(*args, **kwargs)


@pytest.fixture
def later(do):
    return lambda subject, **options: Later(do, (delay(subject, **options), adelay(subject, **options)))


@pytest.mark.dj(1, 4, 10, 26, 348)
def test_any_method_can_be_called_later(each_jobs, later, work_off):
    job = later(Account(7)).credit(5, note="!")

    work_off(each_jobs)

    assert job.refresh().result == "7 + 5!"
    assert job.task == f"{__name__}.Account.credit"


@pytest.mark.dj(211)
def test_a_call_is_saved_as_its_object_its_method_and_its_arguments(jobs):
    job = delay(Account(7)).credit(5, note="!")

    saved = json.loads(job.refresh().payload)
    assert saved == {
        "v": 1,
        "self": {"$": "dataclass", "v": [f"{__name__}:Account", {"number": 7}]},
        "method": "credit",
        "args": [5],
        "kwargs": {"note": "!"},
    }


@pytest.mark.dj(348)
def test_a_method_of_the_class_s_own_can_be_called_later(jobs, work_off):
    job = delay(Account(7))._double()

    work_off(jobs)

    assert job.refresh().result == 14


@pytest.mark.dj(1)
def test_any_function_can_be_called_later(each_jobs, later, work_off):
    job = later(tidy, queue="low").__call__("/tmp", depth=3)

    work_off(each_jobs)

    assert job.refresh().result == "/tmp to 3"
    assert (job.queue, job.task) == ("low", f"{__name__}.tidy")


@pytest.mark.dj(216)
def test_a_class_method_is_called_on_its_class(jobs, later, work_off):
    first, second = later(Account).opened(3), later(Premium).opened(4)

    work_off(jobs)

    assert first.refresh().result == "Account 3"
    assert second.refresh().result == "premium Premium 4"


def test_a_static_method_is_called_on_its_class_or_an_object(jobs, work_off):
    of_class, of_object = delay(Account).summed([1, 2]), delay(Account(1)).summed([3])

    work_off(jobs)

    assert (of_class.refresh().result, of_object.refresh().result) == (3, 3)


def test_a_coroutine_method_is_awaited_by_the_worker(jobs, later, work_off):
    job = later(Account(1)).acredit(2)

    work_off(jobs)

    assert job.refresh().result == "1 + 2"


def test_a_bound_method_is_a_method_of_its_object(jobs, work_off):
    job = delay(Account(1).credit)(5)

    work_off(jobs)

    assert job.refresh().result == "1 + 5"


@pytest.mark.dj(10)
def test_a_method_may_take_its_object_in_star_args(jobs, work_off):
    job = delay(Loose()).taking(1, 2, three=3)

    work_off(jobs)

    assert job.refresh().result == [3, {"three": 3}]


@pytest.mark.dj(10)
def test_a_dict_as_the_last_argument_stays_one(jobs, work_off):
    job = delay(Loose()).taking({"two": 2})

    work_off(jobs)

    assert job.refresh().result == [2, {}]


@pytest.mark.dj(7)
def test_an_object_with_a_delay_of_its_own_can_be_delayed(jobs, work_off):
    job = delay(Parcel(3)).send()

    work_off(jobs)

    assert job.refresh().result == "in 3 days"


@pytest.mark.dj(28, 29)
def test_what_an_object_has_by_the_names_of_hooks_and_settings_is_its_own(jobs, work_off):
    told.clear()
    good, bad = delay(Order()).ship(), delay(Order()).ship(lost=True)

    work_off(jobs)

    assert told == []
    assert (good.queue, good.max_attempts) == ("default", None)
    assert (good.refresh().state, bad.refresh().state) == ("succeeded", "scheduled")


@pytest.mark.dj(23)
def test_a_method_that_begins_with_an_underscore_can_be_called_later(jobs, work_off):
    job = delay(Account(7))._audit()

    work_off(jobs)

    assert job.refresh().result == "7 audited"


@pytest.mark.dj(21)
def test_what_is_saved_of_a_call_is_the_object_the_method_and_the_arguments(jobs):
    job = delay(Account(7)).credit(5, note="!")

    saved = json.loads(job.payload)

    subject = {"$": "dataclass", "v": [f"{__name__}:Account", {"number": 7}]}
    assert saved == {"v": 1, "method": "credit", "self": subject, "args": [5], "kwargs": {"note": "!"}}


@pytest.mark.dj(26)
def test_a_job_is_called_after_the_class_and_its_method(jobs):
    tasks = [delay(Account(1)).credit(1).task, delay(Account).opened(1).task, delay(Premium(1)).credit(1).task]

    assert tasks == [f"{__name__}.Account.credit", f"{__name__}.Account.opened", f"{__name__}.Premium.credit"]


def test_a_task_keeps_its_name_and_options(jobs, work_off):
    job = delay(a_task)(3)
    other = delay(a_task, queue="low")(3)

    work_off(jobs)

    assert (job.task, job.queue, job.refresh().result) == ("tests.delayed_task", "tasks", 3)
    assert other.queue == "low"


def test_a_decorated_function_keeps_its_options(jobs, work_off):
    job, other = delay(handled)(3), delay(handled, queue="low")(3)

    work_off(jobs)

    assert (job.queue, other.queue, job.refresh().result) == ("handled", "low", 4)


def test_a_decorated_method_keeps_its_options(jobs, work_off):
    job, other = delay(Account(1)).charge(3), delay(Account(1), priority=9).charge(3)

    work_off(jobs)

    assert (job.queue, job.priority, job.refresh().result) == ("decorated", 4, "1 - 3")
    assert (other.queue, other.priority) == ("decorated", 9)


@pytest.mark.dj(5, 16, 359)
def test_options_apply_to_the_call(jobs):
    job = delay(Account(1), queue="mail", priority=lambda account: account.number + 1, max_attempts=3).credit(1)

    assert (job.queue, job.priority, job.max_attempts) == ("mail", 2, 3)


@pytest.mark.dj(1)
@pytest.mark.dj(5, 6)
@pytest.mark.parametrize("name", ["payload", "task", "text", "state", "worker", "id"])
def test_an_option_replaces_neither_what_is_called_nor_what_the_store_keeps(jobs, name):
    with pytest.raises(OptionError, match=f"unknown option '{name}': there are queue, priority"):
        delay(Account(1), **{name: "x"})

    assert jobs.find() == []


def test_the_mixin_delays_with_and_without_options(each_jobs, work_off):
    plain, with_options = Account(7).delay.credit(5), Account(7).delay(queue="mail").credit(5)

    work_off(each_jobs)

    assert (plain.queue, with_options.queue) == ("default", "mail")
    assert plain.refresh().result == with_options.refresh().result == "7 + 5"


async def test_the_mixin_can_be_awaited(jobs):
    plain = await Account(7).adelay.credit(5)
    with_options = await Account(7).adelay(run_at=timedelta(1)).credit(5)

    assert (plain.state, with_options.state) == ("ready", "scheduled")


@pytest.mark.dj(3)
def test_a_proxy_shows_whose_calls_it_delays_and_never_its_contents():
    assert repr(delay(Account(7))) == "<delay of a Account>"
    assert repr(delay(Account)) == "<delay of Account>"
    assert repr(Account(7).delay) == "<delay of a Account>"


@pytest.mark.dj(2, 3)
@pytest.mark.parametrize(
    "look",
    [repr, str, copy.copy, copy.deepcopy, pickle.dumps, dir, pprint.pformat, bool, hash, lambda x: x == x],  # noqa: PLR0124
    ids=["repr", "str", "copy", "deepcopy", "pickle", "dir", "pprint", "bool", "hash", "eq"],
)
def test_looking_at_a_proxy_enqueues_nothing(jobs, look):
    proxy = delay(Account(7))

    try:
        look(proxy)
    except (TypeError, AttributeError, pickle.PicklingError):
        pass

    assert jobs.find() == []


def test_a_copy_of_a_proxy_delays_as_it_does(jobs):
    proxy = delay(Account(7), queue="mail")

    job = copy.copy(proxy).credit(1)

    assert (job.queue, job.task) == ("mail", f"{__name__}.Account.credit")


@pytest.mark.dj(2, 23)
@pytest.mark.parametrize("name", ["__len__", "__await__", "__class_getitem__", "__html__", "_repr_html_", "nothing"])
def test_a_proxy_has_only_the_methods_of_its_object(jobs, name):
    assert not hasattr(delay(Account(7)), name)
    assert jobs.find() == []


@pytest.mark.dj(22, 229, 348)
def test_a_method_that_is_not_there_is_refused_when_it_is_called(jobs):
    with pytest.raises(AttributeError, match="'Account' object has no attribute 'credti'"):
        delay(Account(7)).credti(1)


def test_an_attribute_that_is_no_method_is_refused(jobs):
    with pytest.raises(AttributeError, match=r"a Account\.number is no method, so it cannot be enqueued"):
        delay(Account(7)).number()


@pytest.mark.dj(22)
def test_a_wrong_call_is_refused_when_it_is_enqueued(jobs, later):
    with pytest.raises(
        TypeError, match=r"test_delay\.Account\.credit\(amount: .*\) -> .*: missing a required argument"
    ):
        later(Account(7)).credit()

    assert jobs.find() == []


def test_an_object_that_is_called_itself_is_refused_with_the_fix(jobs):
    with pytest.raises(OptionError, match=r"delay\(a Account\) wants a method: delay\(obj\)\.method"):
        delay(Account(7))(1)
    with pytest.raises(OptionError, match=r"delay\(Account\) wants a method"):
        delay(Account)(1)


@pytest.mark.parametrize(("subject", "method"), [("abc", "upper"), (Path("x"), "unlink"), (b"x", "hex"), ({}, "clear")])
def test_methods_of_types_that_are_not_the_applications_own_are_refused(jobs, subject, method):
    with pytest.raises(
        NotTrusted, match=rf"\.{method} is not the application's own code: it is defined in '.*'; write a method"
    ):
        getattr(delay(subject), method)()


def test_functions_that_are_not_the_applications_own_are_refused(jobs):
    with pytest.raises(
        NotTrusted, match=r"shutil:rmtree: workers may not run code of 'shutil'; if they should, configure"
    ):
        delay(__import__("shutil").rmtree)("/")


def test_a_function_that_lies_about_its_module_is_refused(jobs):
    with pytest.raises((NotTrusted, NotImportable), match=r"posix|system"):
        delay(__import__("os").system)("true")


def test_what_configure_trusts_may_be_run(make_jobs, sqlite_url, work_off):
    jobs = make_jobs(sqlite_url, trust=["shutil", "tests"])
    job = delay(__import__("shutil").which)("sh")

    work_off(jobs)

    assert job.refresh().result.endswith("/sh")


@pytest.mark.dj(210)
@pytest.mark.parametrize(
    "payload",
    [
        {"call": "os:system", "args": ["touch {}"]},
        {"call": "posix:system", "args": ["touch {}"]},
        {"call": "subprocess:run", "args": [["touch", "{}"]]},
        {"call": f"{__name__}:Path.touch", "args": ["{}"]},
        {"method": "touch", "self": {"$": "path", "v": "{}"}, "args": []},
        {"method": "write_text", "self": {"$": "path", "v": "{}"}, "args": ["x"]},
        {"class": "subprocess:Popen", "fields": {}},
        {"call": f"{__name__}:Account", "args": [1]},
        {"method": "__init__", "self": {"$": "name", "v": f"{__name__}:Account"}, "args": [1]},
        {
            "method": "parse_raw",
            "self": {"$": "name", "v": "tests.traps.app:Model"},
            "args": ["cos\nsystem\n(S'touch {}'\ntR."],
            "kwargs": {"allow_pickle": True, "proto": "pickle"},
        },
        {
            "method": "credit",
            "self": {
                "$": "dataclass",
                "v": [f"{__name__}:Account", {"number": 1}, {"credit": {"$": "name", "v": f"{__name__}:touch"}}],
            },
            "args": ["{}"],
        },
        {"class": f"{__name__}:Service", "fields": {"perform": {"$": "name", "v": f"{__name__}:Account"}}},
    ],
    ids=lambda payload: "-".join(str(payload.get(key, "")) for key in ("call", "class", "method")),
)
def test_a_row_written_by_hand_runs_no_code_that_is_not_trusted(each_jobs, work_off, tmp_path, payload):
    target = tmp_path / "made"
    text = json.dumps({"v": 1, "args": [], "kwargs": {}, **payload}).replace("{}", str(target), 1)
    job = saved_by_hand(each_jobs, text)

    work_off(each_jobs)

    assert not target.exists()
    assert job.refresh().state != "succeeded"
    assert job.error.startswith("belayed.errors.")


class Service:
    """A class whose objects have no state."""

    def double(self, number: int) -> int:
        return 2 * number

    @handle_asynchronously(queue="service")
    def triple(self, number: int) -> int:
        return 3 * number


class Counter:
    """A class whose objects have some, and no text form."""

    def __init__(self) -> None:
        self.count = 1

    def get(self) -> int:
        return self.count


def test_an_object_without_state_needs_no_text_form(each_jobs, work_off):
    one, two = delay(Service()).double(4), Service().triple(4)

    work_off(each_jobs)

    assert (one.refresh().result, two.refresh().result, two.queue) == (8, 12, "service")
    assert '"of":' in one.payload


class Slotted:
    """Its state is in no __dict__."""

    __slots__ = ("count",)

    def __init__(self, count: int) -> None:
        self.count = count

    def get(self) -> int:
        return self.count


class Numbers(list[int]):
    """Its state is what it holds."""

    def total(self) -> int:
        return sum(self)


class Prices(dict[str, int]):
    def total(self) -> int:
        return sum(self.values())


@pytest.mark.parametrize(
    ("subject", "method"),
    [(Counter(), "get"), (Slotted(3), "get"), (Numbers([1, 2]), "total"), (Prices(tea=3), "total")],
    ids=lambda value: type(value).__name__,
)
def test_an_object_with_state_needs_one(jobs, subject, method):
    with pytest.raises(NotSerializable, match=r"self: .*(objects have no text form|come back as a plain)"):
        getattr(delay(subject), method)()


def test_an_object_without_state_of_somebody_else_s_class_is_refused(jobs):
    with pytest.raises(NotTrusted):
        delay(string.Formatter()).format("{}", 1)
