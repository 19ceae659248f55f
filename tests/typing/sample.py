"""What the marks of a typing case look like."""

from dataclasses import dataclass
from typing import Protocol, assert_type


class Named(Protocol):
    @property
    def name(self) -> str: ...


@dataclass
class Boat:
    name: str


def shout(thing: Named) -> str:
    return thing.name.upper()


assert_type(shout(Boat("Ida")), str)
shout("Ida")  # error: mypy=arg-type pyright=reportArgumentType
Boat(1)  # error: mypy=arg-type pyright=reportArgumentType
Boat().mast  # error: mypy=call-arg|attr-defined pyright=reportCallIssue|reportAttributeAccessIssue
assert_type(shout(Boat("Ida")), bytes)  # error
