"""What names stand for at enqueue: a priority's name for its number, a queue's for the defaults of its jobs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from belayed.config import Config
from belayed.errors import ConfigError, OptionError
from belayed.job import Draft
from belayed.options import CHECKS, check_priority, check_queue
from belayed.parsing import duration

OF_QUEUE = ("priority", "max_attempts", "max_run_time", "keep_failed")
"""What a queue may say of its jobs."""


class Names:
    """The settings `priorities` and `queue_attributes`, checked. Raises ConfigError."""

    def __init__(self, config: Config) -> None:
        self.default_queue, self.default_priority = config.default_queue, config.default_priority
        self.priorities: dict[str, int] = {}
        for name, value in config.priorities.items():
            try:
                if type(value) is not int:
                    raise OptionError(f"{value!r} is no whole number")
                check_priority(name)
                check_priority(value)
            except OptionError as error:
                raise ConfigError(f"priorities (or BELAYED_PRIORITIES), {name!r}: {error}") from None
            self.priorities[name] = value
        self.queues = {queue: self.of_queue(queue, given) for queue, given in config.queue_attributes.items()}

    def of_queue(self, queue: str, given: Any) -> dict[str, Any]:
        """What a queue says; times may be texts, as JSON has none."""
        try:
            check_queue(queue)
            if not isinstance(given, Mapping):
                raise OptionError(f"{given!r}: it takes a dict, such as {{'priority': -10}}")
            values = dict(given)
            for name, value in values.items():
                if name not in OF_QUEUE:
                    raise OptionError(f"unknown attribute {name!r}: there are {', '.join(OF_QUEUE)}")
                if name == "max_run_time" and isinstance(value, str):
                    values[name] = duration(value)
                CHECKS[name](values[name])
            if "priority" in values:
                values["priority"] = self.number(values["priority"])
        except (OptionError, ValueError) as error:
            raise ConfigError(f"queue_attributes (or BELAYED_QUEUE_ATTRIBUTES), {queue!r}: {error}") from None
        return values

    def number(self, priority: int | str) -> int:
        """The number of a priority that may be a name. Raises OptionError."""
        if not isinstance(priority, str):
            return priority
        if priority not in self.priorities:
            there = f"there are {', '.join(map(repr, self.priorities))}" if self.priorities else "none has one"
            number = "write a whole number, smaller runs first"
            raise OptionError(
                f"priority={priority!r}: no priority has this name ({there}: the setting priorities); {number}"
            )
        return self.priorities[priority]

    def fill(self, draft: Draft) -> None:
        """Put into a draft what it does not say itself: what its queue says, and else the configuration."""
        draft.queue = draft.queue or self.default_queue
        if type(draft.queue) is not str and isinstance(draft.queue, str):
            # An enum of texts: what it stands for, as formatted it may be its name.
            draft.queue = str.__str__(draft.queue)
        if self.queues:
            # Before it is looked up: a hook may have put in anything.
            check_queue(draft.queue)
            for name, value in self.queues.get(draft.queue, {}).items():
                if getattr(draft, name) is None:
                    setattr(draft, name, value)
        draft.priority = self.default_priority if draft.priority is None else self.number(draft.priority)
