"""A guest that never reports, a libvirt that hangs."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.kit.covey_up import GOES_ON, CoveyUp, a_covey
from tests.kit.eventually import eventually

pytestmark = [pytest.mark.real, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def covey() -> AsyncIterator[CoveyUp]:
    async with a_covey() as covey:
        yield covey


async def test_a_guest_that_never_reports_fails_the_job_with_its_last_words_and_stays(covey: CoveyUp) -> None:
    said = await covey.fail(
        "instance add silent --image tick --memory 16M --wait ready --timeout 3s",
        says=["silent", "within 3 s", "covey instance console silent"],
    )
    _, number, *_ = said.split()
    assert "BOOT-OK" in await covey.do(f"job info {number} --log")
    silent = await covey.instance("silent")
    assert (silent["state"], silent["ready"]) == ("running", False)
    await covey.goes_on("silent")
    (job, *_) = await covey.json("job list --limit 1")
    assert job["state"] == "failed"
    assert [step["state"] for step in job["steps"]] == ["done"] * len(job["steps"]), "expiry undoes nothing"
    assert await covey.findings() == []


async def test_waiting_holds_nothing_and_another_job_on_the_instance_ends_it(covey: CoveyUp) -> None:
    job = (await covey.do("instance reboot silent --now --wait ready --no-wait")).strip()

    async def is_waiting() -> bool:
        return bool((await covey.json(f"job info {job}"))["state"] == "waiting")

    await eventually(is_waiting)
    assert (await covey.ask(f"job watch {job} --wait-timeout 1s")).status == GOES_ON
    await covey.do("instance stop silent --now")

    async def is_over() -> bool:
        return bool((await covey.json(f"job info {job}"))["state"] == "superseded")

    await eventually(is_over)


async def test_a_waiting_job_can_be_cancelled(covey: CoveyUp) -> None:
    job = (await covey.do("instance start silent --wait ready --no-wait")).strip()

    async def is_waiting() -> bool:
        return bool((await covey.json(f"job info {job}"))["state"] == "waiting")

    await eventually(is_waiting)
    await covey.ask(f"job cancel {job}")
    assert (await covey.json(f"job info {job}"))["state"] == "cancelled"
    await covey.fail(f"job cancel {job}", says=[job])


async def test_a_reboot_is_cancelled_while_the_guest_is_asked_and_its_run_goes_on(covey: CoveyUp) -> None:
    await covey.add_image("ear", obeys=False)
    await covey.do("instance add deaf --image ear --memory 16M")
    before = await covey.instance("deaf")
    job = (await covey.do("instance reboot deaf --timeout 10m --no-wait")).strip()

    async def is_asked() -> bool:
        steps = (await covey.json(f"job info {job}"))["steps"]
        return bool([step for step in steps if "asked to shut down" in step["title"] and step["state"] == "running"])

    await eventually(is_asked)
    await covey.do(f"job cancel {job}")
    await covey.ask(f"job watch {job}")
    assert (await covey.json(f"job info {job}"))["state"] == "cancelled"
    after = await covey.instance("deaf")
    assert (after["generation"], after["state"]) == (before["generation"], "running")
    await covey.goes_on("deaf")
    assert await covey.findings() == []


@pytest.mark.slow  # libvirt's own probes take most of a minute to find out
async def test_a_libvirt_that_hangs_is_named_and_no_guest_pays_for_it(covey: CoveyUp) -> None:
    await covey.do("instance add patient --image tick --memory 16M")
    before = await covey.instance("patient")
    libvirtd = covey.libvirtd
    os.kill(libvirtd, signal.SIGSTOP)
    try:

        async def is_told() -> bool:
            return "libvirt" in (await covey.ask("status")).out

        await eventually(is_told, within=60.0)
        assert (await covey.instance("patient"))["state"] == "running", "no answer is never stopped"
        found = await covey.ask("cluster verify")
        assert "libvirt" in found.out
    finally:
        os.kill(libvirtd, signal.SIGCONT)

    async def is_well() -> bool:
        return (await covey.ask("status")).status == 0

    await eventually(is_well, within=60.0)
    after = await covey.instance("patient")
    assert (after["pid"], after["generation"], after["crashes"]) == (before["pid"], before["generation"], 0)
    await covey.goes_on("patient")
    assert await covey.findings() == []
