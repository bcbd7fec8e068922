"""Requests on images."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from covey.base.errors import BadInput, check
from covey.model.names import check_line, check_name, check_path, check_sha256, check_text
from covey.model.request import Request

_WORD = re.compile(r"[a-z0-9][a-z0-9.+:_-]*", re.ASCII)
_SUITE = re.compile(r"[a-z][a-z0-9-]*", re.ASCII)
SMALLEST_IMAGE = 2**29
LARGEST_IMAGE = 2**44


def check_url(text: str, object: str) -> None:
    """Raises BadInput unless `text` is an http(s) URL without credentials (they would be kept and shown)."""
    check_line(text, object, 2000)
    try:
        url = urlsplit(text)
        port_fine = url.port is None or url.port > 0
    except ValueError:
        raise BadInput(f"{text[:80]!r} is not a URL", object) from None
    check(
        url.scheme in ("http", "https") and url.hostname and port_fine,
        BadInput(f"{text[:80]!r} is not an http(s) URL", object, "download it first, then give the file"),
    )
    check(
        url.username is None and url.password is None,
        BadInput("a URL here cannot carry a password", object, "download it first, then give the file"),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AddImage(Request, kind="image.add"):
    """An image from a file on the machine or from a URL."""

    name: str
    source: str
    sha256: str = ""
    notes: str = ""

    def check(self) -> None:
        check_name(self.name, "name")
        if "://" in self.source[:10]:
            check_url(self.source, "source")
        else:
            check_path(self.source, "source")
        check_sha256(self.sha256, "sha256")
        check_text(self.notes, "notes")

    @property
    def title(self) -> str:
        return f"image add {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildImage(Request, kind="image.build"):
    """A golden image of Debian, made here."""

    name: str
    suite: str = "bookworm"
    packages: tuple[str, ...] = ()
    hooks: tuple[str, ...] = ()  # texts of scripts
    size: int = 2 * 2**30
    mirror: str = ""
    notes: str = ""

    def check(self) -> None:
        check_name(self.name, "name")
        check(
            _SUITE.fullmatch(self.suite) and len(self.suite) < 40,
            BadInput(f"{self.suite[:40]!r} is no suite", "suite", "such as bookworm"),
        )
        check(len(self.packages) <= 1000, BadInput("at most 1000 packages", "packages"))
        for package in self.packages:
            check(
                len(package) < 200 and _WORD.fullmatch(package),
                BadInput(f"{package[:40]!r} is no package name", "packages"),
            )
        check(len(self.hooks) <= 20, BadInput("at most 20 hook scripts", "hooks"))
        for hook in self.hooks:
            check_text(hook, "hooks")
            check(hook.startswith("#!"), BadInput("a hook script must begin with #!", "hooks", "such as #!/bin/sh"))
        check(SMALLEST_IMAGE <= self.size <= LARGEST_IMAGE, BadInput("must be between 512M and 16T", "size"))
        if self.mirror:
            check_url(self.mirror, "mirror")
        check_text(self.notes, "notes")

    @property
    def title(self) -> str:
        return f"image build {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoveImage(Request, kind="image.remove"):
    image: str

    def check(self) -> None:
        check_name(self.image, "image")

    @property
    def title(self) -> str:
        return f"image remove {self.image}"
