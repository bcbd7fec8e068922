"""What a volume itself holds above the file that it lies on."""

from __future__ import annotations

import json

from covey.base.errors import StepFailed, check
from covey.base.qcow2 import CLUSTER, Run, runs_of
from covey.base.run import run
from covey.host.storage.protocol import Attachment

LOOK_WITHIN_S = 600.0


async def allocated(attachment: Attachment) -> tuple[list[Run], list[Run]]:
    """The clusters that hold data, and those that hold zeros: what is in neither shows what lies below. Raises StepFailed."""
    argv = ("qemu-img", "map", "--output=json", "-f", attachment.format, attachment.path)
    done = await run(argv, timeout_s=LOOK_WITHIN_S)
    return told_apart(json.loads(done.stdout))


def told_apart(extents: list[dict[str, int]]) -> tuple[list[Run], list[Run]]:
    """Of what qemu-img says: a cluster that is zeros only in part is taken for data, which reads as it is in any case."""
    check(
        all("present" in extent for extent in extents),
        StepFailed("qemu-img does not say what is there", "volume", "it needs QEMU 6.1"),
    )
    data: list[tuple[int, int]] = []
    zeros: list[tuple[int, int]] = []
    for extent in extents:
        if not extent["present"] or extent["depth"]:
            continue
        at, end = extent["start"], extent["start"] + extent["length"]
        first, last = -(-at // CLUSTER) * CLUSTER, end // CLUSTER * CLUSTER
        if not extent["zero"] or first >= last:
            data.append((at, end - at))
            continue
        zeros.append((first, last - first))
        data += [(one, other - one) for one, other in ((at, first), (last, end)) if one < other]
    return runs_of(data), runs_of(zeros)
