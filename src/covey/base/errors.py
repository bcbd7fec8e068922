"""The errors of Covey, one small tree, mapped once at each door (HTTP status, exit code).

    CoveyError(what, object, hint)
      BadInput      400, exit 2   what was asked is not well-formed
      NotFound      404, exit 1   the named object does not exist
      Refused       409, exit 1   well-formed, but not now or not so
        NoSpace     409, exit 1   no room: memory, disk, addresses
        Conflict    409, exit 1   somebody else changed it first
      Denied        403, exit 3   who asks may not
      Unavailable   503, exit 3   something needed gives no answer; nothing was changed
      StepFailed    500, exit 1   a step on a node failed
      Bug           500, exit 1   Covey's own fault

`what` says what happened in one sentence, `object` names what it happened to ("instance web1"), `hint` says what to do next.
"""

from __future__ import annotations

from typing import Any, ClassVar, TypeVar

T = TypeVar("T")


class CoveyError(Exception):
    """Something a person must read. Never raised bare: raise one of the kinds below."""

    status: ClassVar[int] = 500
    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, object: object = "", hint: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.object = str(object)
        self.hint = hint

    @property
    def kind(self) -> str:
        """The name of the error in JSON: the class name."""
        return type(self).__name__

    def __str__(self) -> str:
        text = f"{self.object}: {self.what}" if self.object else self.what
        return f"{text} ({self.hint})" if self.hint else text

    def to_json(self) -> dict[str, Any]:
        """The error as plain JSON, as jobs keep it and agents send it."""
        return {"kind": self.kind, "what": self.what, "object": self.object, "hint": self.hint}


class BadInput(CoveyError):
    status = 400
    exit_code = 2


class NotFound(CoveyError):
    status = 404


class Refused(CoveyError):
    status = 409


class NoSpace(Refused):
    pass


class Conflict(Refused):
    pass


class Denied(CoveyError):
    status = 403
    exit_code = 3


class Unavailable(CoveyError):
    status = 503
    exit_code = 3


class StepFailed(CoveyError):
    """`log` is what a failed tool wrote, for the job's log; it does not travel with the error."""

    def __init__(self, what: str, object: object = "", hint: str = "", log: str = "") -> None:
        super().__init__(what, object, hint)
        self.log = log


class Bug(CoveyError):
    pass


KINDS: dict[str, type[CoveyError]] = {
    kind.__name__: kind for kind in (BadInput, NotFound, Refused, NoSpace, Conflict, Denied, Unavailable, StepFailed, Bug)
}


def from_json(data: dict[str, Any]) -> CoveyError:
    """The error that `to_json` wrote; an unknown kind (a newer peer) becomes StepFailed."""
    kind = KINDS.get(str(data.get("kind")), StepFailed)
    return kind(str(data.get("what", "unknown error")), str(data.get("object", "")), str(data.get("hint", "")))


def check(condition: object, error: CoveyError) -> None:
    """Raise `error` unless `condition` holds: the way planners and validators read as a list of rules."""
    if not condition:
        raise error


def require(value: T | None, error: CoveyError) -> T:
    """`value`, or raise `error` when there is none."""
    if value is None:
        raise error
    return value
