"""The program that measures bare psycopg, and its settings."""
