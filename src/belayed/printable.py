"""Text of jobs, rows and other processes, made safe for a terminal and for a log: nothing in it steers or hides.

What is ordinary stays: letters of all scripts, right to left too, accents, emoji. Written out, as `\\x1b` or `\\u202e`,
are controls, characters of format (Unicode's category Cf: they turn the direction of a text, have no width, or join
emoji), line and paragraph separators, lone surrogates, and the others that cannot be seen.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of characters that are written out."""
UNSEEN = frozenset({
    0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2065, 0x2800, 0x3164, *range(0xFE00, 0xFE0E),
    0xFFA0, *range(0xFFF0, 0xFFF9),
})  # fmt: skip
"""More characters without a shape (Default_Ignorable_Code_Point), but for the two that choose how emoji look."""
UNSEEN_PLANE = range(0xE0000, 0xE1000)
MARKS = 4
"""Accents that one letter may have: hardly any text has more, and hundreds of them cover the lines above and below."""
BEYOND_ASCII = re.compile(r"[\x21-\x7e]?[^\s\x20-\x7e]+")
"""Where there may be accents, with the letter before."""


@lru_cache(maxsize=4096)
def written(number: int) -> str | int:
    """The character of this number, or what stands for it."""
    char = chr(number)
    unsafe = unicodedata.category(char) in UNSAFE and char not in "\n\t"
    if not (unsafe or number in UNSEEN or number in UNSEEN_PLANE):
        return number
    if number < 0x100:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


class Table:
    """For `str.translate`. Not a dict: hostile texts would fill it with a million entries."""

    def __getitem__(self, number: int) -> str | int:
        return written(number)


TABLE = Table()


def lines(text: str) -> str:
    """*text*, of one or many lines, safe for a terminal. Line feeds and tabs stay."""
    if text.isascii() and text.isprintable():
        return text
    # A line of a text from Windows ends as any other.
    text = text.replace("\r\n", "\n").translate(TABLE)
    return text if text.isascii() else BEYOND_ASCII.sub(fewer_marks, text)


def line(text: object) -> str:
    """*text* in one line; None is an empty one."""
    return "" if text is None else lines(" ".join(str(text).split()))


def record(text: str) -> str:
    """*text* as a record of a log: what follows its first line is indented, so that it looks like no record."""
    if text.isascii() and text.isprintable():
        return text
    return lines(text).replace("\n", "\n    ")


def json_line(text: str) -> str:
    """JSON in ASCII, safe for a terminal: JSON itself leaves DEL as it is."""
    return text.replace("\x7f", "\\u007f")


def fewer_marks(found: re.Match[str]) -> str:
    """A piece of text without accents that have no letter, or of which a letter has too many."""
    kept, run = [], MARKS
    for char in found[0]:
        # FE0E and FE0F, which follow a symbol, are marks too.
        if unicodedata.category(char) not in ("Mn", "Me"):
            run = 0
            kept.append(char)
            continue
        run += 1
        if run <= MARKS:
            kept.append(char)
        elif run == MARKS + 1:
            kept.append("…")
    return "".join(kept)
