"""The program that measures django-tasks-db, and its settings."""
