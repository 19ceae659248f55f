"""The `meta` of a job, as it was written when the job was enqueued."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Never

READ_ONLY = (
    "meta is written once, when a job is enqueued (draft.meta, by a plugin's on_enqueue): what a job puts there would "
    "be lost; return it as the result, or keep it in a table of your own"
)


class Meta(dict[str, Any]):
    """What travels with a job, to be read: a change would reach nobody, so it is refused. A copy is a plain dict."""

    def _refuse(self, *_args: Any, **_given: Any) -> Never:
        raise TypeError(READ_ONLY)

    if not TYPE_CHECKING:
        __setitem__ = __delitem__ = __ior__ = update = setdefault = pop = popitem = clear = _refuse

    def __copy__(self) -> dict[str, Any]:
        return dict(self)

    copy = __copy__

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


NONE = Meta()


def meta_of(text: str | None) -> Meta:
    """The `meta` that a row has as text; what is none, as somebody may have written by hand, comes as `unreadable`."""
    if not text:
        return NONE
    try:
        meta = json.loads(text)
    except (ValueError, RecursionError):
        meta = None
    return Meta(meta if isinstance(meta, dict) else {"unreadable": text[:200]})
