"""Requests on pools."""

from __future__ import annotations

from dataclasses import dataclass

from covey.base.errors import BadInput, check
from covey.model.names import check_name, check_path
from covey.model.pool import CAPABILITIES
from covey.model.request import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class AddPool(Request, kind="pool.add"):
    name: str
    template: str = "file"
    path: str = ""
    format: str = ""  # "" for the template's first

    def check(self) -> None:
        check_name(self.name, "name")
        check(
            self.template in CAPABILITIES,
            BadInput(f"{self.template[:40]!r} is no storage template", "template", "use one of " + ", ".join(CAPABILITIES)),
        )
        capability = CAPABILITIES[self.template]
        if capability.holds_volumes:
            check(self.path, BadInput("is missing", "path", "name the directory: --path /srv/covey"))
            check_path(self.path, "path")
        else:
            check(not self.path, BadInput(f"a {self.template} pool has no path", "path"))
        check(
            not self.format or self.format in capability.formats,
            BadInput(
                f"{self.format[:40]!r} is no format of {self.template} pools",
                "format",
                "use one of " + ", ".join(capability.formats),
            ),
        )

    @property
    def title(self) -> str:
        return f"pool add {self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovePool(Request, kind="pool.remove"):
    pool: str

    def check(self) -> None:
        check_name(self.pool, "pool")

    @property
    def title(self) -> str:
        return f"pool remove {self.pool}"
