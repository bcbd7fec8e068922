"""What all generated pages are made of."""

from __future__ import annotations

from collections.abc import Sequence

MADE = "This page is made from the code by `python -m docs.generate`; a test keeps it true.\n"


def table(*heads: str, rows: Sequence[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
