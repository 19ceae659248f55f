"""The settings of a small shop, on the database that the environment names."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import django

BASE = Path(__file__).parent
SECRET_KEY = "of the tests"
DEBUG = bool(os.environ.get("SITE_DEBUG"))
USE_TZ = True
ROOT_URLCONF = "site_urls"
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.sessions",
    "belayed.django",
    "shop",
]
if django.VERSION < (6, 0):
    INSTALLED_APPS.append("django_tasks")
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "/static/"
# The real ones take most of a second for each user.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
FOLDER = Path(os.environ.get("SITE_FOLDER", "/tmp/belayed-djangosite"))
FOLDER.mkdir(parents=True, exist_ok=True)


def sqlite(name: str) -> dict:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": FOLDER / f"{name}.sqlite3",
        "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20, "init_command": "PRAGMA journal_mode=WAL"},
        "TEST": {"NAME": str(FOLDER / f"test_{name}.sqlite3")},
    }


def postgresql(url: str, name: str) -> dict:
    found = urlsplit(url)
    host = parse_qs(found.query).get("host", [found.hostname or ""])[0]
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": found.path[1:],
        "USER": found.username or "",
        "HOST": host,
        "PORT": found.port or "",
        "TEST": {"NAME": f"{found.path[1:]}_{name}"},
    }


URL = os.environ.get("SITE_URL", "")
DATABASES = {name: postgresql(URL, name) if URL else sqlite(name) for name in ("default", "other")}
if os.environ.get("SITE_TOKEN"):
    DATABASES["default"]["ENGINE"] = "engine"
if os.environ.get("SITE_TEST"):
    # A process that a test has started works on the databases of the tests.
    for one in DATABASES.values():
        one["NAME"] = one["TEST"]["NAME"]
DATABASE_ROUTERS = os.environ.get("SITE_ROUTERS", "shop.routers.Router").split(",")
TASKS = {"default": {"BACKEND": "belayed.django.TasksBackend", "QUEUES": ["default", "mail"]}}
if django.VERSION >= (6, 1):
    MAILERS = {
        "default": {"BACKEND": "belayed.django.EmailBackend", "OPTIONS": {"using": "smtp", "queue": "mail"}},
        "smtp": {
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": {"host": "127.0.0.1", "port": int(os.environ.get("SITE_SMTP", "2525"))},
        },
    }
else:
    EMAIL_BACKEND = "belayed.django.EmailBackend"
    EMAIL_HOST = "127.0.0.1"
    EMAIL_PORT = int(os.environ.get("SITE_SMTP", "2525"))
    BELAYED = {"MAIL_QUEUE": "mail"}
if os.environ.get("SITE_SCHEMA"):
    BELAYED = {**globals().get("BELAYED", {}), "SCHEMA": os.environ["SITE_SCHEMA"]}
if os.environ.get("SITE_PLUGINS"):
    BELAYED = {**globals().get("BELAYED", {}), "PLUGINS": [os.environ["SITE_PLUGINS"]]}
