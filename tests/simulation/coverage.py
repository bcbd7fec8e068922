"""Which fault hit which phase of which request."""

from __future__ import annotations

from collections.abc import Mapping

from tests.simulation.faults import FAULTS

PHASES = ("queued", "undoable", "forward", "undoing", "waiting")
Hits = Mapping[tuple[str, str, str], int]


def printed(hits: Hits) -> str:
    """A table: faults down, phases across, how often each hit the other; then the requests that each fault met."""
    rows = [f"{'fault':24}" + "".join(f"{phase:>10}" for phase in PHASES) + "  kinds of request"]
    for fault in sorted(fault.__name__ for fault in FAULTS):
        counts = [sum(count for key, count in hits.items() if key[0] == fault and key[2] == phase) for phase in PHASES]
        kinds = {key[1] for key in hits if key[0] == fault}
        rows.append(f"{fault:24}" + "".join(f"{count:>10}" for count in counts) + f"  {len(kinds)}")
    return "\n".join(rows)


def uncovered(hits: Hits) -> list[str]:
    """Pairs of fault and phase that no schedule met."""
    met = {(key[0], key[2]) for key in hits}
    return [f"{fault.__name__}/{phase}" for fault in FAULTS for phase in PHASES if (fault.__name__, phase) not in met]
