"""The program that measures Huey, and its settings."""
