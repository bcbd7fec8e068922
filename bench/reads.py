"""How fast reads are: 1,000 and 5,000 instances in full through the API, the same after one change, the first ever (nothing is encoded
yet), the same unchanged (ETag), and the command line's own time.

The floors: `floor_json_1000_ms` is json.dumps of the same 1,000 objects, `floor_python_s` an interpreter that starts and ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from bench.jobs import creates
from bench.rig import COVEY, Http, Up, arguments, connections, once, percentile, report, scratch

TIMES = 30


async def main() -> None:
    given = arguments(__doc__ or "")
    with scratch() as directory:
        up = Up(directory / "state", "--hosts", "fake")
        try:
            up.covey("cluster", "init", "bench")
            await creates(up.state, 0, 1000)
            cold = await first_list(up.state)
            body, list_1000 = await full_lists(up.state)
            figures = {
                "list_1000_p50_ms": 1000 * list_1000,
                "list_1000_changed_p50_ms": 1000 * await changed_lists(up.state),
                "list_1000_first_ms": 1000 * cold,
                "unchanged_p50_ms": 1000 * await unchanged(up.state),
                "cli_list_1000_s": percentile([once([str(COVEY), "instance", "list"], up.environment) for _ in range(9)]),
                "cli_help_s": percentile([once([str(COVEY), "--help"], up.environment) for _ in range(9)]),
                "floor_python_s": percentile([once([sys.executable, "-c", ""], up.environment) for _ in range(9)]),
                "floor_json_1000_ms": 1000 * encode(body),
            }
            await creates(up.state, 1000, 4000)
            _, list_5000 = await full_lists(up.state)
            figures["list_5000_p50_ms"] = 1000 * list_5000
        finally:
            up.stop()
    report(given, figures)


async def full_lists(state: Path) -> tuple[bytes, float]:
    """The answer, and the median seconds of getting it whole."""
    taken = []
    async with connections(state, 1) as (http,):
        for _ in range(TIMES):
            begun = time.monotonic()
            status, body, _ = await http.ask("GET", "/v1/instances")
            taken.append(time.monotonic() - begun)
            assert status == 200
    return body, percentile(taken)


async def first_list(state: Path) -> float:
    """Seconds of the first list: every object is encoded for it."""
    async with connections(state, 1) as (http,):
        begun = time.monotonic()
        await http.ask("GET", "/v1/instances")
        return time.monotonic() - begun


async def changed_lists(state: Path) -> float:
    """Median seconds of a list of which one instance has changed since the last."""
    taken = []
    async with connections(state, 1) as (http,):
        for number in range(10):
            job = await http.json("PATCH", "/v1/instances/i0", {"notes": f"change {number}"})
            await http.json("GET", f"/v1/jobs/{job['id']}?wait_s=10")
            begun = time.monotonic()
            await http.ask("GET", "/v1/instances")
            taken.append(time.monotonic() - begun)
    return percentile(taken)


async def unchanged(state: Path) -> float:
    taken = []
    async with connections(state, 1) as (http,):
        etag = await fresh_etag(http)
        for _ in range(TIMES):
            begun = time.monotonic()
            status, _, _ = await http.ask("GET", "/v1/instances", if_none_match=etag)
            if status == 304:
                taken.append(time.monotonic() - begun)
            else:  # a node told of itself in between: that is a change
                etag = await fresh_etag(http)
    return percentile(taken)


async def fresh_etag(http: Http) -> str:
    _, _, headers = await http.ask("GET", "/v1/instances")
    return headers["etag"]


def encode(body: bytes) -> float:
    items = json.loads(body)["items"]
    begun = time.monotonic()
    json.dumps(items)
    return time.monotonic() - begun


if __name__ == "__main__":
    asyncio.run(main())
