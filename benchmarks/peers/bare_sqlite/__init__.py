"""The program that measures bare sqlite3, and its settings."""
