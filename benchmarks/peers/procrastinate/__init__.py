"""The program that measures Procrastinate, and its settings."""
