"""The program that measures Celery, and its settings."""
