"""What runs jobs: a loop that owns the store, and slots that run attempts."""

from belayed.worker.worker import Summary, Worker

__all__ = ["Summary", "Worker"]
