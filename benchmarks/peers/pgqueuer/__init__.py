"""The program that measures PgQueuer, and its settings."""
