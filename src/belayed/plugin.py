"""Plugins: objects with hooks around enqueueing, attempts and the worker's life."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from types import TracebackType
from typing import Any, ClassVar, Literal, TypeVar

from belayed.errors import ConfigError
from belayed.job import Draft, Job
from belayed.retry import Cancel, Fail, Retry
from belayed.safelog import log

T = TypeVar("T")

NOTHING = nullcontext()


class Plugin:
    """Override what you need. A hook that raises is logged, and neither loses a job nor changes how it ends.

    But for what is raised on purpose: `Cancel` at enqueue, before anything is saved, keeps the job from being saved;
    `Retry`, `Fail` or `Cancel` on entering an attempt end it as they do when a job raises them.

    `around_…` hooks are context managers (`@contextmanager`), entered in the order of the plugins and left in the
    opposite one; they wrap `def` and `async def` jobs alike, and context variables set in them reach the job.
    """

    HOOKS: ClassVar = (
        "around_enqueue",
        "on_enqueue",
        "around_attempt",
        "on_crash",
        "on_error",
        "on_failure",
        "around_work",
        "around_pass",
    )

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for name in vars(cls):
            if name.startswith(("on_", "around_", "before_", "after_")) and name not in Plugin.HOOKS:
                raise ConfigError(
                    f"{cls.__qualname__}.{name} is no hook of a plugin: there are {', '.join(Plugin.HOOKS)}"
                )

    def around_enqueue(self, draft: Draft) -> AbstractContextManager[None]:
        """Around the saving of a job, or its inline run. An error that keeps it from being saved passes through."""
        return nullcontext()

    def on_enqueue(self, draft: Draft) -> None:
        """Before a job is saved. It may change the draft; what it puts in `draft.meta` travels with the job."""

    def around_attempt(self, job: Job) -> AbstractContextManager[None]:
        """Around one attempt, in its thread or task. What the job is made of is loaded within it, as is its object."""
        return nullcontext()

    def around_work(self, worker: Any) -> AbstractContextManager[None]:
        """Around a worker's run: in each of its child processes."""
        return nullcontext()

    def around_pass(self, worker: Any) -> AbstractContextManager[None]:
        """Around one pass of a worker's loop, between two waits: taking jobs in, sending off what has ended."""
        return nullcontext()

    def on_crash(self, job: Job, error: BaseException) -> None:
        """After an attempt that took its process down, in another process; before `on_error`."""

    def on_error(self, job: Job, error: BaseException) -> None:
        """After an attempt that raised."""

    def on_failure(self, job: Job, error: BaseException) -> None:
        """When a job has failed for good."""


class Plugins:
    """The plugins of a `Jobs`, each hook with only those that override it: a hook nobody has costs nothing."""

    def __init__(self, plugins: Iterable[Plugin] = ()) -> None:
        self.all = tuple(plugins)
        for plugin in self.all:
            if not isinstance(plugin, Plugin):
                raise ConfigError(f"plugins: {plugin!r} is no Plugin instance")
        self.by_hook: dict[str, list[Callable[..., Any]]] = {
            name: [
                getattr(plugin, name) for plugin in self.all if getattr(type(plugin), name) is not getattr(Plugin, name)
            ]
            for name in Plugin.HOOKS
        }

    def notify(self, hook: str, *args: Any) -> None:
        """Call an `on_…` hook of every plugin."""
        for call in self.by_hook[hook]:
            with reported(hook, call):
                call(*args)

    def around(self, hook: str, subject: Any) -> AbstractContextManager[None]:
        """Enter an `around_…` hook of every plugin; an error of the body passes through them and comes out."""
        return self.entered(hook, subject) if self.by_hook[hook] else NOTHING

    @contextmanager
    def entered(self, hook: str, subject: Any) -> Iterator[None]:
        with ExitStack() as stack:
            for call in self.by_hook[hook]:
                with reported(hook, call):
                    stack.enter_context(Guarded(hook, call, call(subject)))
            yield


class Guarded(AbstractContextManager[None]):
    """A plugin's context manager whose own errors on leaving are logged, and which cannot swallow the body's."""

    def __init__(self, hook: str, call: Callable[..., Any], inner: AbstractContextManager[Any]) -> None:
        self.hook, self.call, self.inner = hook, call, inner

    def __enter__(self) -> None:
        self.inner.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        try:
            self.inner.__exit__(kind, raised, trace)
        except Exception as error:
            if error is not raised:
                log.exception("plugin hook %s (%r) raised", self.hook, self.call)
        return False


class Within:
    """What a coroutine is within: the context managers of plugins. It is given what makes calls within them, too."""

    __slots__ = ("around",)

    def __init__(self, around: AbstractContextManager[None]) -> None:
        self.around = around

    async def __aenter__(self) -> Callable[[Callable[[], T]], Awaitable[T]]:
        self.around.__enter__()
        return self.call

    async def __aexit__(
        self, kind: type[BaseException] | None, raised: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.around.__exit__(kind, raised, trace)

    async def call(self, call: Callable[[], T]) -> T:
        """What a call returns that may wait for the application's database."""
        return call()


ON_PURPOSE: dict[str, tuple[type[Exception], ...]] = {
    "around_enqueue": (Cancel,),
    "on_enqueue": (Cancel,),
    "around_attempt": (Retry, Fail, Cancel),
}
"""What a hook may raise to say what is to become of the job."""


@contextmanager
def reported(hook: str, call: Callable[..., Any]) -> Iterator[None]:
    """Log what a hook raises, and go on; but for what it raises on purpose."""
    try:
        yield
    except ON_PURPOSE.get(hook, ()):
        raise
    except Exception:
        log.exception("plugin hook %s (%r) raised", hook, call)
