"""The program that measures Oban, and its settings."""
