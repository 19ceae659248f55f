"""What arguments a function takes, and whether a call of it runs it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import AsyncGeneratorType, GeneratorType
from typing import Any

PLAIN = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
VAR_POSITIONAL, KEYWORD_ONLY = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.KEYWORD_ONLY


GENERATORS = (GeneratorType, AsyncGeneratorType)
"""What a call of a generator function returns: none of its code has run by then."""
GENERATOR = "is a generator function: calling it runs none of its code; write its loop in a plain function"


def generates(function: Any) -> bool:
    """Whether a call of *function* would only make a generator, so that none of its code ran."""
    return any(
        inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one)
        for one in (function, getattr(function, "__call__", None))  # noqa: B004
    )


class Signature:
    """What arguments a function takes; asking is cheap for the plain ones."""

    def __init__(self, function: Callable[..., Any], *, skip_first: bool = False) -> None:
        try:
            signature = inspect.signature(function)
        except ValueError:
            # Many functions written in C do not say what they take.
            signature = inspect.signature(anything)
        self.generates = generates(function)
        parameters = list(signature.parameters.values())
        if skip_first and parameters and parameters[0].kind is not VAR_POSITIONAL:
            parameters = parameters[1:]
            signature = signature.replace(parameters=parameters)
        self.whole = signature
        self.plain = all(one.kind in PLAIN for one in parameters)
        self.most = len(parameters)
        self.least = sum(one.default is inspect.Parameter.empty for one in parameters)

    def check(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Raise TypeError if a call with these arguments would."""
        if not self.plainly(len(args), kwargs):
            self.whole.bind(*args, **kwargs)

    def plainly(self, args: int, kwargs: Mapping[str, Any]) -> bool:
        """Whether a call with so many positional arguments can be told to fit without a closer look."""
        return self.plain and not kwargs and self.least <= args <= self.most

    def chosen(self, given: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments for a function that may take any of *given*, by their names or else by their order."""
        kinds = {name: one.kind for name, one in self.whole.parameters.items()}
        ordered = [name for name, kind in kinds.items() if kind in PLAIN]
        named = {name: given[name] for name, kind in kinds.items() if kind is KEYWORD_ONLY and name in given}
        if ordered and all(name in given for name in ordered):
            return [given[name] for name in ordered], named
        args = list(given.values())
        return args if VAR_POSITIONAL in kinds.values() else args[: len(ordered)], named


def anything(*args: Any, **kwargs: Any) -> Any:
    """The signature of what does not say its own."""
