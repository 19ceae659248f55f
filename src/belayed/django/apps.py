"""The application: what happens when Django has started."""

from __future__ import annotations

from importlib import import_module

import django
from django.apps import AppConfig, apps
from django.core.signals import setting_changed


class BelayedConfig(AppConfig):
    name = "belayed.django"
    label = "belayed"
    verbose_name = "Background jobs"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django.utils.module_loading import autodiscover_modules

        from belayed.django import checks, jobs, references

        if tasks_are_used():
            from belayed.django import backends

            backends.install()
            jobs.OF_TASKS[:] = [backends.Signals()]
        jobs.install()
        references.install()
        checks.install()
        setting_changed.connect(jobs.changed, dispatch_uid="belayed")
        if django.VERSION >= (6, 0):
            # Django registers the checks of TASKS when this is imported, which a project need not do.
            import_module("django.tasks.checks")
        # Tasks are known by their names once their modules are imported.
        autodiscover_modules("tasks", "jobs")
        if tasks_are_used():
            backends.register()


def tasks_are_used() -> bool:
    """Whether Django's tasks are there: they are from Django 6 on, or with the backport."""
    return django.VERSION >= (6, 0) or apps.is_installed("django_tasks")
