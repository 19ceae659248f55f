"""From a wish to a draft that can be saved: the job's own settings, its hook, and its payload's text."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from belayed.codec import Codec
from belayed.config import Config
from belayed.errors import EnqueueError, OptionError, PayloadTooLarge
from belayed.job import Draft
from belayed.names import Names
from belayed.options import check_draft, checked, resolved
from belayed.payload import Performance, call_hook, performance, setting

SETTINGS = ("queue", "priority", "max_attempts", "max_run_time", "keep_failed")
"""What an object with perform() may say of itself."""


def draft_of(job: Any, options: Mapping[str, Any]) -> Draft:
    """A draft with *options* put in, or the draft of an object with perform(). Raises OptionError."""
    if isinstance(job, Draft):
        for name, value in resolved(checked(options)).items() if options else ():
            setattr(job, name, value)
        return job
    payload = performance(job)
    own = {name: value for name in SETTINGS if (value := setting(job, name)) is not None}
    return Draft(payload, payload.task, **resolved(checked({**own, **options}), job))


def completed(draft: Draft, config: Config, names: Names, codec: Codec) -> Draft:
    """The draft with its `enqueue` hook called, its defaults filled in and its text written. Raises EnqueueError."""
    if isinstance(draft.payload, Performance):
        call_hook(draft.payload.subject, "enqueue", draft=draft)
    names.fill(draft)
    # Once more: plugins and the hook may have changed them.
    check_draft(draft)
    draft.text = draft.payload.write(codec)
    if len(draft.text) > config.payload_limit // 4:
        # A character has at most four bytes.
        check_size(draft, config)
    if draft.meta:
        check_meta(draft, codec)
    return draft


META_LIMIT = 16 * 1024
"""Bytes, as the tables take them. A claim brings a thousand jobs, each with its meta."""


class Many:
    """Drafts to be saved together. *complete* completes each whenever it is read; without it they have been before."""

    def __init__(self, drafts: Sequence[Draft], complete: Callable[[Draft], Draft] | None = None) -> None:
        self.drafts, self.complete = drafts, complete
        said = told_of(drafts[0])
        # Compared, not hashed: what has not been completed has not been checked.
        self.alike = all(told_of(draft) == said for draft in drafts)
        """Whether one hint tells of all."""
        self.first = drafts[0] if complete is None else complete(drafts[0])

    def __len__(self) -> int:
        return len(self.drafts)

    def __iter__(self) -> Iterator[Draft]:
        return iter(self.drafts) if self.complete is None else map(self.complete, self.drafts)


def told_of(draft: Draft) -> tuple[Any, ...]:
    """What a hint tells of a draft."""
    return draft.queue, draft.priority, draft.run_at is None


def check_size(draft: Draft, config: Config) -> None:
    """Raise PayloadTooLarge for a payload beyond the limit."""
    size = bytes_of(draft.text)
    if size > config.payload_limit:
        raise PayloadTooLarge(
            f"the payload of {draft.task} has {size:,} bytes, the limit is {config.payload_limit:,}: pass a reference "
            "(an id, a path) instead, or raise payload_limit (BELAYED_PAYLOAD_LIMIT)"
        )


def check_meta(draft: Draft, codec: Codec) -> None:
    """Raise PayloadTooLarge for a `meta` beyond the limit, and OptionError for what is none."""
    size = bytes_of(meta_text(draft, codec))
    if size > META_LIMIT:
        raise PayloadTooLarge(
            f"the meta of {draft.task} has {size:,} bytes, the limit is {META_LIMIT:,}: it travels with every claim, "
            "so put what is large among the job's arguments"
        )


def bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def meta_text(draft: Draft, codec: Codec) -> str:
    """The draft's `meta` as it is saved. Raises OptionError if it would not come back equal."""
    takes = f"the meta of {draft.task} takes a dict of plain JSON values"
    try:
        text = codec.text(draft.meta)
    except EnqueueError as error:
        raise OptionError(f"{takes}: {error}") from error
    if json.loads(text) != draft.meta or not text.startswith("{"):
        raise OptionError(f"{takes}, with texts as keys, not {draft.meta!r}")
    return text
