"""Text from outside, made fit for people to read."""

from __future__ import annotations

import re

# ECMA-48: control sequences (CSI), operating system commands (OSC) up to their end, and two-character escapes.
_ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-_a-z0-9=>]")


def plain(text: str) -> str:
    """What a terminal would have shown, roughly: without colours, cursor movements and other control characters, empty lines once."""
    lines = (
        "".join(character for character in line if character.isprintable() or character == "\t").rstrip()
        for line in _ESCAPES.sub("", text).replace("\r\n", "\n").replace("\r", "\n").split("\n")
    )
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines))
