"""Jobs in Django's admin: the lists, one job with its attempts, and actions for those who may.

`register` puts them into an `AdminSite` of the project's own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from belayed import printable
from belayed.config import current
from belayed.django.models import EndedJob, FailedAttempt, LiveJob
from belayed.errors import BelayedError, ConfigError
from belayed.redaction import redacted, redacted_result
from belayed.worker.report import humane

COUNTED = 10_000
"""Jobs are counted up to so many: a list of a million costs no more."""
SHORT = 120
LOOKUPS = ("state", "task", "queue", "priority", "worker")
"""The columns that addresses may filter by."""
LONGEST_ID = 20
"""Digits: ids have at most 19, and Python refuses to read thousands."""


class Pages(Paginator):
    """Pages that count no further than they must."""

    @cached_property
    def count(self) -> int:
        return len(self.object_list.values_list("pk")[:COUNTED])


class ByState(admin.SimpleListFilter):
    """The states by their names: to ask the table which there are would read all of it."""

    title = parameter_name = "state"
    states: tuple[str, ...] = ()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(state, state) for state in self.states]

    def queryset(self, request: HttpRequest, queryset: QuerySet) -> QuerySet:
        return queryset.filter(state=self.value()) if self.value() else queryset


def told(attempt: FailedAttempt) -> str:
    """The error of an attempt, with its traceback where there is one."""
    return str(attempt.traceback or f"{attempt.error_type}: {attempt.message}")


def shown(text: str) -> SafeString:
    """JSON for people, such as a payload without what looks like a secret. What is not JSON is not shown."""
    try:
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError) as error:
        text = f"{len(text)} characters that cannot be read: {type(error).__name__}"
    # JSON may name half of a character, which no page takes.
    return format_html("<pre>{}</pre>", printable.lines(text))


class LiveStates(ByState):
    states = ("scheduled", "ready", "running")


class EndedStates(ByState):
    states = ("succeeded", "failed", "cancelled")


class JobAdmin(admin.ModelAdmin):
    """What the admins of live and ended jobs have alike: they are looked at, and changed by actions alone."""

    paginator = Pages
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    list_per_page = 50
    ordering = ("-id",)
    search_fields = ("task",)
    search_help_text = "An id, or the whole name of a task or of a queue."
    shown: tuple[str, ...] = ()

    def lookup_allowed(self, lookup: str, value: Any, request: HttpRequest | None = None) -> bool:
        """Whether the address of a list may filter by *lookup*: by whole values of a few columns that it shows.

        Django allows all lookups of a model's own columns: `?payload__contains=` told those who may view jobs, guess by
        guess, what is hidden from them in the arguments.
        """
        return lookup in LOOKUPS

    def get_queryset(self, request: HttpRequest) -> QuerySet:
        return super().get_queryset(request).using(current().alias)

    def get_search_results(self, request: HttpRequest, queryset: QuerySet, search_term: str) -> tuple[QuerySet, bool]:
        """Exact ones only: to look for a part of a name would read the whole table."""
        term = search_term.strip()
        if not term:
            return queryset, False
        if term.isdecimal() and len(term) <= LONGEST_ID:
            return queryset.filter(pk=int(term)), False
        return queryset.filter(task=term) | queryset.filter(queue=term), False

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.shown

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return self.shown

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_manage_permission(self, request: HttpRequest) -> bool:
        """Whether the user may retry, cancel and run jobs."""
        return bool(request.user.has_perm("belayed.change_job"))

    def has_remove_permission(self, request: HttpRequest) -> bool:
        """Whether the user may delete jobs: by the action, as their attempts go with them."""
        return super().has_delete_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="error")
    def problem(self, job: Any) -> str:
        """The error in short."""
        text = (job.error or "").partition("\n")[0]
        return text if len(text) <= SHORT else f"{text[:SHORT]}…"

    @admin.display(description="took")
    def took(self, job: Any) -> str:
        """How long the last attempt ran."""
        return "" if job.seconds is None else humane(job.seconds)

    @admin.display(description="arguments")
    def arguments(self, job: Any) -> SafeString | str:
        """What it runs, without what looks like a secret."""
        return shown(redacted(job.payload, current().config.redact)) if job.payload else "not kept: they were large"

    @admin.display(description="result")
    def returned(self, job: Any) -> SafeString | str:
        """What the job has returned, without what looks like a secret."""
        if (job.result or "").startswith("!"):
            return f"not stored: it returned {job.result[1:]}"
        return shown(redacted_result(job.result, current().config.redact)) if job.result else ""

    @admin.display(description="attempts that did not succeed")
    def attempts(self, job: Any) -> SafeString | str:
        """Each with its error and traceback."""
        found = FailedAttempt.objects.using(current().alias).filter(job_id=job.pk).order_by("id")
        listed = [
            (one.number, one.outcome, f"{one.ended_at:%Y-%m-%d %H:%M:%S %Z}", one.worker or "", told(one))
            for one in found
        ]
        if not listed:
            return "none"
        return format_html_join("", "<p>{}: {}, {}, {}</p><pre>{}</pre>", listed)

    def done(self, request: HttpRequest, jobs: QuerySet, change: Callable[..., int], what: str) -> None:
        """Change the chosen jobs, and say how many it was."""
        ids = list(jobs.values_list("pk", flat=True))
        if not ids:
            self.message_user(request, f"None of the selected jobs can be {what}.", messages.WARNING)
            return
        try:
            count = change(*ids)
        except BelayedError as error:
            self.message_user(request, str(error), messages.ERROR)
            return
        level = messages.SUCCESS if count == len(ids) else messages.WARNING
        rest = "" if count == len(ids) else f"; {len(ids) - count} were in another state meanwhile"
        self.message_user(request, f"{count} job{'' if count == 1 else 's'} {what}{rest}.", level)

    @admin.action(description="Delete selected jobs", permissions=("remove",))
    def delete_jobs(self, request: HttpRequest, queryset: QuerySet) -> None:
        self.done(request, queryset, current().delete, "deleted")


class LiveJobAdmin(JobAdmin):
    list_display = ("id", "task", "state", "problem", "queue", "priority", "attempt", "run_at")
    list_filter = (LiveStates,)
    actions = ("run_now", "cancel", "delete_jobs")
    shown = (
        "id", "task", "state", "queue", "priority", "run_at", "created_at", "claimed_at", "worker", "attempt",
        "failures", "crashes", "rescues", "max_attempts", "max_run_time", "error", "arguments", "attempts",
    )  # fmt: skip

    @admin.action(description="Run selected jobs now", permissions=("manage",))
    def run_now(self, request: HttpRequest, queryset: QuerySet) -> None:
        self.done(request, queryset.filter(state="scheduled"), current().retry, "made due now")

    @admin.action(description="Cancel selected jobs", permissions=("manage",))
    def cancel(self, request: HttpRequest, queryset: QuerySet) -> None:
        self.done(request, queryset, current().cancel, "cancelled")


class EndedJobAdmin(JobAdmin):
    list_display = ("id", "task", "state", "problem", "queue", "attempt", "finished_at", "took")
    list_filter = (EndedStates,)
    actions = ("retry", "delete_jobs")
    shown = (
        "id", "task", "state", "queue", "priority", "run_at", "created_at", "finished_at", "took", "worker",
        "attempt", "failures", "crashes", "rescues", "max_attempts", "max_run_time", "error", "returned", "arguments",
        "attempts",
    )  # fmt: skip

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Those of one state by when they ended: an index has them so."""
        return ("-finished_at", "-id") if request.GET.get("state") else ("-id",)

    @admin.action(description="Retry selected jobs", permissions=("manage",))
    def retry(self, request: HttpRequest, queryset: QuerySet) -> None:
        self.done(request, queryset.exclude(state="succeeded"), current().retry, "run again")


ADMINS: dict[type[Model], type[JobAdmin]] = {LiveJob: LiveJobAdmin, EndedJob: EndedJobAdmin}


def register(site: admin.AdminSite) -> None:
    """Put jobs into an admin site of your own, as they are in Django's default one.

    What the site has for them already stays: a subclass of LiveJobAdmin or EndedJobAdmin, say. Raises ConfigError.
    """
    if not isinstance(site, admin.AdminSite):
        raise ConfigError(f"register({site!r}): it takes an AdminSite, such as admin.site, as an instance")
    for model, options in ADMINS.items():
        if not site.is_registered(model):
            site.register(model, options)


register(admin.site)
