"""`covey local list`, `start` and `stop`: this machine's agent is asked, and nobody else (S19)."""

from __future__ import annotations

import getpass
import os
from dataclasses import dataclass

from covey.base.errors import NotFound, Refused, check
from covey.main.here import ANSWER_LIMIT_S, agent_here, checked
from covey.main.layout import Layout, choose
from covey.model import codec
from covey.model.domain import FoundDomain
from covey.model.local import LocalAct
from covey.service.filters import parse_filter

START_WITHIN_S = 180.0
FIELDS = ("name", "state", "reason", "generation", "pid", "disks", "uuid")


@dataclass(frozen=True, slots=True)
class Here:
    """What this machine has. `is_alone`: there is no other node on which any of it could run. `is_led`: a leader listens."""

    guests: tuple[FoundDomain, ...]
    acts: tuple[LocalAct, ...]
    is_alone: bool
    is_led: bool

    def find(self, named: str) -> FoundDomain:
        """By name or UUID. Raises NotFound, and Refused for a name that several have."""
        found = [guest for guest in self.guests if named in (guest.title, guest.instance)]
        check(found, NotFound("nothing of that name is defined on this machine", f"instance {named}", "see: covey local list"))
        ids = ", ".join(guest.instance for guest in found)
        check(len(found) == 1, Refused(f"several here have that name: {ids}", f"instance {named}", "name it by its UUID"))
        return found[0]


def look(settings: str, state: str | None) -> Here:
    """Raises Unavailable when the agent does not answer."""
    with agent_here(_layout(settings, state)) as agent:
        return codec.decode(Here, checked(agent.get("/local")))


def start(settings: str, state: str | None, name: str, reason: str, nowhere_else: bool) -> FoundDomain:
    """Raises what the agent refuses."""
    wish = {"name": name, "by": _who(), "reason": reason, "nowhere_else": nowhere_else}
    with agent_here(_layout(settings, state), START_WITHIN_S) as agent:
        return codec.decode(FoundDomain, checked(agent.post("/local/start", json=wish)))


def stop(settings: str, state: str | None, name: str, reason: str, graceful_s: float) -> FoundDomain:
    """Raises what the agent refuses."""
    wish = {"name": name, "by": _who(), "reason": reason, "graceful_s": graceful_s}
    with agent_here(_layout(settings, state), graceful_s + START_WITHIN_S + ANSWER_LIMIT_S) as agent:
        return codec.decode(FoundDomain, checked(agent.post("/local/stop", json=wish)))


def _layout(settings: str, state: str | None) -> Layout:
    check(
        os.geteuid() == 0, Refused("a machine's guests are root's to start and stop without a leader", "covey local", "use sudo")
    )
    return choose(settings, state=state).layout


def _who() -> str:
    """The person, also behind sudo."""
    return os.environ.get("SUDO_USER") or getpass.getuser()


def rows(here: Here, filter: str) -> list[dict[str, object]]:
    """The guests as a list shows them, those that match. Raises BadInput for a filter that makes no sense."""
    matches = parse_filter(filter, frozenset(FIELDS))
    found = [_row(guest) for guest in here.guests]
    return [row for row in found if matches(row)]


def _row(guest: FoundDomain) -> dict[str, object]:
    return {
        "name": guest.title,
        "state": guest.state,
        "reason": guest.reason,
        "generation": guest.generation,
        "pid": guest.pid or None,
        "disks": len(guest.disks),
        "uuid": guest.instance,
    }
