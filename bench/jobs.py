"""How fast jobs go: through the API, authorisation, planning, one step by the real agent over its socket, and every durable commit.

`noop_p50_ms` is submit to done, one at a time; `noop_per_s` with 500 queued at once; `noop_cpu_ms` the CPU of controller and agent for
each of those. `floor_commits_per_s` is what the same store commits, one at a time and fsync'd, in the same run. `create_per_s` makes 500
diskless instances at once on a pretended host, `create_per_s_at_5000` in another Covey that has 5,000: medians of seven pairs in turn, and
`create_ratio_at_5000` the median of their ratios. At the end all processes are killed with 500 jobs under way: `lost_jobs` counts those
answered 202 that are not there afterwards.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from bench.rig import Http, Up, arguments, connections, percentile, report, scratch
from covey.base.clock import SystemClock
from covey.store.protocol import Put
from covey.store.sqlite import SqliteStore

BURST = 500
PAIRS = 7
CONNECTIONS = 25
ALONE = 200


async def main() -> None:
    given = arguments(__doc__ or "")
    with scratch() as directory:
        up = Up(directory / "state", "--hosts", "fake")
        try:
            up.covey("cluster", "init", "bench")
            figures = {
                "noop_p50_ms": 1000 * await one_at_a_time(up.state),
                **await burst_of_noops(up),
                "floor_commits_per_s": await raw_commits(directory),
                **await pairs_of_creates(up.state, directory),
                "lost_jobs": await kill_and_count(up),
            }
        finally:
            up.stop()
    report(given, figures)


async def one_at_a_time(state: Path) -> float:
    """Median seconds from the submit to the answer that the job has succeeded."""
    taken = []
    async with connections(state, 1) as (http,):
        for _ in range(ALONE):
            begun = time.monotonic()
            job = await http.json("POST", "/v1/nodes/n1/ping", {})
            ended = await http.json("GET", f"/v1/jobs/{job['id']}?wait_s=10")
            taken.append(time.monotonic() - begun)
            assert ended["state"] == "succeeded", ended
    return percentile(taken)


async def burst_of_noops(up: Up) -> dict[str, float]:
    cpu, begun = up.cpu_s(), time.monotonic()
    await submit_and_wait(up.state, [("/v1/nodes/n1/ping", {})] * BURST)
    return {"noop_per_s": BURST / (time.monotonic() - begun), "noop_cpu_ms": 1000 * (up.cpu_s() - cpu) / BURST}


async def pairs_of_creates(empty: Path, directory: Path) -> dict[str, float]:
    """Instances made in a second where there are none, and in another Covey where there are 5,000: a burst takes a second, in which
    the machine may do other things, so each begins in turn."""
    full = Up(directory / "full", "--hosts", "fake")
    try:
        full.covey("cluster", "init", "bench")
        await creates(full.state, 0, 5000)
        at_0: list[float] = []
        at_5000: list[float] = []
        for pair in range(PAIRS):
            bursts = [(at_0, empty, pair * BURST), (at_5000, full.state, 5000 + pair * BURST)]
            for rates, state, first in bursts if pair % 2 else reversed(bursts):
                rates.append(await creates(state, first, BURST))
    finally:
        full.stop()
    ratios = [later / before for before, later in zip(at_0, at_5000, strict=True)]
    return {
        "create_per_s": percentile(at_0),
        "create_per_s_at_5000": percentile(at_5000),
        "create_ratio_at_5000": percentile(ratios),
        "create_ratio_least": min(ratios),
        "create_ratio_most": max(ratios),
    }


async def creates(state: Path, first: int, number: int) -> float:
    """Instances made in a second, `number` of them at once."""
    bodies = [("/v1/instances", {"name": f"i{first + k}", "memory": 2**26, "disks": [], "nics": []}) for k in range(number)]
    begun = time.monotonic()
    await submit_and_wait(state, bodies)
    return number / (time.monotonic() - begun)


async def submit_and_wait(state: Path, requests: list[tuple[str, Any]]) -> None:
    """Submit over several connections side by side, then wait until every job has ended well."""
    async with connections(state, CONNECTIONS) as opened:
        jobs = await submit(opened, requests)
        waiting = iter(jobs)

        async def wait(http: Http) -> None:
            for job in waiting:
                ended = await http.json("GET", f"/v1/jobs/{job}?wait_s=30")
                assert ended["state"] == "succeeded", (job, ended)

        await asyncio.gather(*(wait(http) for http in opened))


async def submit(opened: list[Http], requests: list[tuple[str, Any]]) -> list[int]:
    """The numbers of the jobs that were answered 202."""
    waiting = iter(requests)
    accepted: list[int] = []

    async def post(http: Http) -> None:
        for path, body in waiting:
            accepted.append((await http.json("POST", path, body))["id"])

    await asyncio.gather(*(post(http) for http in opened))
    return accepted


async def raw_commits(directory: Path) -> float:
    """Durable transactions of one record a second, each waited for: the floor of everything that is recorded."""
    store = await SqliteStore.open(directory / "floor.db", SystemClock())
    begun, number = time.monotonic(), 0
    while time.monotonic() - begun < 2.0:
        await store.txn((), (Put(f"floor/{number % 100}", b"x" * 500),))
        number += 1
    await store.close()
    return number / (time.monotonic() - begun)


async def kill_and_count(up: Up) -> float:
    """SIGKILL in the midst of a burst; then every job that was answered 202 must be there, and end."""
    accepted: list[int] = []
    enough = asyncio.Event()
    async with connections(up.state, CONNECTIONS) as opened:

        async def post(http: Http) -> None:
            while True:
                accepted.append((await http.json("POST", "/v1/nodes/n1/ping", {}))["id"])
                if len(accepted) >= BURST:
                    enough.set()

        posting = [asyncio.create_task(post(http)) for http in opened]
        await enough.wait()
        up.kill()
        await asyncio.gather(*posting, return_exceptions=True)
    up.start()
    lost = 0
    async with connections(up.state, 1) as (http,):
        for job in accepted:
            status, content, _ = await http.ask("GET", f"/v1/jobs/{job}?wait_s=30")
            lost += status != 200 or b'"succeeded"' not in content
    return lost


if __name__ == "__main__":
    asyncio.run(main())
