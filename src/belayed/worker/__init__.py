"""What runs jobs: a loop that owns the store, and slots that run attempts."""

from belayed.worker.report import Summary
from belayed.worker.worker import Worker

__all__ = ["Summary", "Worker"]
