"""The README as package indexes show it: they have no files beside it, so links to files lead into the repository."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

LINK = re.compile(r"\[(?P<text>[^\]\n]+)\]\((?P<target>(?![a-z]+:|#)[^)\s]+)\)")
"""A link to a file, by its path."""


def for_an_index(text: str, repository: str | None) -> str:
    """A README whose links are absolute: to files of a *repository*; without one only their texts are left."""
    if repository is None:
        return LINK.sub(lambda link: link["text"], text)
    return LINK.sub(lambda link: f"[{link['text']}]({repository.rstrip('/')}/blob/main/{link['target']})", text)


try:
    from hatchling.metadata.plugin.interface import MetadataHookInterface
except ImportError:
    # The tests import this without what builds the package.
    pass
else:

    class Readme(MetadataHookInterface):
        """What hatchling calls for `dynamic = ["readme"]`."""

        PLUGIN_NAME = "custom"

        def update(self, metadata: dict[str, Any]) -> None:
            text = (Path(self.root) / "README.md").read_text("utf-8")
            repository = metadata.get("urls", {}).get("Repository")
            metadata["readme"] = {"content-type": "text/markdown", "text": for_an_index(text, repository)}
