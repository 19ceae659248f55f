"""Argument values ↔ text: the tagged JSON codec, and how applications register types and rows of their own."""

from belayed.codec.core import MAX_DEPTH, Codec
from belayed.codec.registry import register, register_reference

__all__ = ["MAX_DEPTH", "Codec", "register", "register_reference"]
