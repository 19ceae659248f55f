"""The application that workers of a Django project import: the project, set up, and its `Jobs`."""

from __future__ import annotations

import django
from django.apps import apps
from django.core.exceptions import ImproperlyConfigured

from belayed.config import current
from belayed.errors import ConfigError

try:
    django.setup()
    installed = apps.is_installed("belayed.django")
except ImproperlyConfigured as error:
    raise ConfigError(f"Django is not configured: {error}") from error
if not installed:
    raise ConfigError("this Django project does not have Belayed: add 'belayed.django' to INSTALLED_APPS")

jobs = current()
