"""The program that measures Belayed, and its settings."""
