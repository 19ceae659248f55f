"""The program that measures RQ, and its settings."""
