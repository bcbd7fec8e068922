"""Covey as a package: installed on a Debian machine that systemd runs, upgraded under a running guest, restarted, rebooted, purged."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.kit.eventually import eventually
from tests.kit.installed import (
    AUTHORITY,
    DOOR,
    METRICS,
    PURGE,
    TOKEN,
    UNITS,
    Installed,
    a_debian,
    debian_with,
    depends,
    make_package,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400), pytest.mark.asyncio(loop_scope="module")]
OLD, NEW = "0.1.0", "0.1.0+2"
WITHIN_S = 600.0
GUEST = ("--image", "tick", "--memory", "16M", "--nic", "none")
UEFI_GUEST = ("--image", "tick", "--memory", "64M", "--nic", "none", "--firmware", "uefi")
SETTINGS = "/etc/covey/covey.toml"
# What bash does when somebody presses the tabulator after `covey instance stop g`.
COMPLETE = """
. /usr/share/bash-completion/completions/covey
COMP_WORDS=(covey instance stop g); COMP_CWORD=3; _covey_completion covey; echo "${COMPREPLY[@]}"
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def packages(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The package, and a newer one. The machine's image is made meanwhile: it takes longest."""
    output = tmp_path_factory.mktemp("packages")
    old = await asyncio.to_thread(make_package, output, OLD)
    new, _ = await asyncio.gather(asyncio.to_thread(make_package, output, NEW), debian_with(depends(old)))
    return old, new


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def debian(packages: tuple[Path, Path]) -> AsyncIterator[Installed]:
    async with a_debian(packages, depends(packages[0])) as debian:
        yield debian


async def test_apt_installs_it_and_its_services_run(debian: Installed, packages: tuple[Path, Path]) -> None:
    await debian.apt_install(packages[0])
    units = await debian.units(*UNITS, "covey-guests")
    assert {(unit["ActiveState"], unit["UnitFileState"]) for unit in units.values()} == {("active", "enabled")}, units
    await debian.covey("cluster", "init", "lab", "--node-name", "n1", "--accelerator", "tcg")
    await debian.covey("image", "add", "tick", "--source", "/root/tick.raw")
    await debian.covey("instance", "add", "g1", *GUEST)
    g1 = await debian.instance("g1")
    assert g1["state"] == "running"
    assert await debian.qemus() == {g1["id"]: g1["pid"]}
    await debian.beats_on(g1["id"])


async def test_uefi_is_among_what_it_depends_on(debian: Installed) -> None:
    """That it boots a guest, and what, is test_uefi's to show: an emulation within an emulation takes minutes for it."""
    await debian.covey("instance", "add", "u1", *UEFI_GUEST)
    u1 = await debian.instance("u1")
    assert (u1["state"], u1["crashes"]) == ("running", 0)
    assert "OVMF" in await debian.sh("cat", f"/proc/{u1['pid']}/cmdline")
    await debian.covey("instance", "remove", "u1", "--purge", "--yes")
    assert u1["id"] not in await debian.qemus()


async def test_the_manual_is_there_and_the_shell_completes_the_names_of_instances(debian: Installed) -> None:
    assert "covey instance add" in await debian.sh("zcat", "/usr/share/man/man1/covey-instance.1.gz")
    assert "listen" in await debian.sh("zcat", "/usr/share/man/man5/covey.toml.5.gz")
    assert (await debian.sh("bash", "-c", COMPLETE)).split() == ["g1"]


async def test_an_upgrade_leaves_the_guest_and_the_settings_alone(debian: Installed, packages: tuple[Path, Path]) -> None:
    await debian.sh("sed", "-i", f's/^# listen = .*/listen = "{DOOR}"/', SETTINGS)
    settings = await debian.sh("cat", SETTINGS)
    assert DOOR in settings
    before, former = await debian.qemus(), await debian.services()
    await debian.apt_install(packages[1])
    assert NEW in await debian.covey("--version")
    assert are_others(await debian.services(), former), "they run the new version"
    assert await debian.sh("cat", SETTINGS) == settings
    await is_untouched(debian, before)


async def test_who_is_not_root_comes_in_by_a_token_only_and_does_what_its_role_may(debian: Installed) -> None:
    refused = await debian.as_nobody("covey", "instance", "list")
    assert refused.status == 3
    assert "be root, or come with COVEY_SERVER and COVEY_TOKEN_FILE" in refused.stderr.decode()
    await debian.sh("sh", "-c", f"umask 077; covey token add look --role viewer > {TOKEN}; chown nobody {TOKEN}")
    await debian.sh("install", "-m", "644", "/var/lib/covey/tls/ca.pem", AUTHORITY)
    by_token = ("env", f"COVEY_SERVER=https://{DOOR}", f"COVEY_TOKEN_FILE={TOKEN}", f"COVEY_CA={AUTHORITY}", "covey")
    seen = await debian.as_nobody(*by_token, "instance", "list", "--columns", "name,state", "--no-header")
    assert ["g1", "running"] in [line.split() for line in seen.text.splitlines()], seen.stderr
    denied = await debian.as_nobody(*by_token, "instance", "stop", "g1", "--yes")
    assert denied.status == 3
    assert "look is viewer and may not do this" in denied.stderr.decode()
    told = (await debian.as_nobody("python3", "-c", METRICS)).text.splitlines()
    numbers = {name: float(value) for name, _, value in (line.rpartition(" ") for line in told if line and line[0] != "#")}
    assert numbers['covey_instances{state="running"}'] == 1
    assert [value for name, value in numbers.items() if name.startswith("covey_instance_up{")] == [1]


async def test_restarting_any_service_or_the_systems_libvirt_leaves_the_guest_alone(debian: Installed) -> None:
    before = await debian.qemus()
    for unit in (*UNITS, "covey-guests", "libvirtd", "systemd-machined"):
        await debian.sh("systemctl", "restart", unit)
        assert await debian.qemus() == before, unit
    await is_untouched(debian, before)


async def test_what_is_killed_comes_back_and_the_guest_is_left_alone(debian: Installed) -> None:
    before, killed = await debian.qemus(), await debian.services()
    await debian.sh("kill", "-KILL", *(str(pid) for pid in killed.values()))

    async def are_back() -> bool:
        return are_others(await debian.services(), killed)

    await eventually(are_back, within=WITHIN_S)
    await is_untouched(debian, before)


async def test_an_agent_that_hangs_is_started_again(debian: Installed) -> None:
    """systemd loses its patience at once, in place of the unit's minute, and soon takes it that SIGABRT does not help: a process that is
    stopped does not hear it."""
    before, hung = await debian.qemus(), (await debian.services())["covey-agent"]
    assert (await debian.units("covey-agent"))["covey-agent"]["WatchdogUSec"] == "1min"
    places = "/run/systemd/system/covey-agent.service.d"
    await debian.sh("sh", "-c", f"mkdir -p {places} && printf '[Service]\\nTimeoutAbortSec=1\\n' > {places}/soon.conf")
    await debian.sh("systemctl", "daemon-reload")
    await debian.sh("kill", "-STOP", str(hung))
    await debian.sh("env", "NOTIFY_SOCKET=/run/systemd/notify", "systemd-notify", f"--pid={hung}", "WATCHDOG_USEC=1000000")

    async def is_another() -> bool:
        return (await debian.services()).get("covey-agent", hung) != hung

    await eventually(is_another, within=WITHIN_S)
    assert "Watchdog timeout" in await debian.sh("journalctl", "--no-pager", "--boot", "--unit", "covey-agent")
    await debian.sh("sh", "-c", f"rm -r {places} && systemctl daemon-reload")
    await is_untouched(debian, before)


async def test_the_sandboxes_are_as_tight_as_the_manual_says(debian: Installed) -> None:
    """Lower is tighter; libvirtd's is that of every guest, too."""
    most = {"covey-controller": 2.5, "covey-agent": 6.5, "covey-libvirtd": 9.5}
    told = await debian.sh("systemd-analyze", "security", "--no-pager", *most)
    found = re.findall(r"Overall exposure level for (\S+)\.service: (\S+)", told)
    assert {unit for unit, _ in found} == set(most)
    for unit, score in found:
        assert float(score) <= most[unit], told


async def test_what_ran_runs_again_after_the_machine_was_rebooted(debian: Installed) -> None:
    before = await debian.instance("g1")
    counted = (await debian.beats(before["id"]))[-1]
    await debian.machine.reboot()

    async def is_back() -> bool:
        g1 = await told_of_g1(debian)
        return bool(g1 and g1["state"] == "running" and g1["generation"] > before["generation"])

    await eventually(is_back, within=WITHIN_S)
    await debian.beats_on(before["id"])
    assert (await debian.beats(before["id"]))[0] > counted, "it has the same disk"
    after = await debian.instance("g1")
    assert after["crashes"] == 0, "it was asked to shut down before the machine was"
    assert "guests are asked to shut down" in await debian.sh("journalctl", "--boot=-1", "--no-pager", "--unit", "covey-guests")


async def test_purging_removes_the_program_and_neither_disks_nor_records_nor_the_guest(debian: Installed) -> None:
    before = await debian.qemus()
    listing = (
        "find",
        "/var/lib/covey/pools",
        "/var/lib/covey/images",
        "/var/lib/covey/store",
        "-name",
        "*.qcow2",
        "-o",
        "-name",
        "*.image",
        "-o",
        "-name",
        "covey.db",
    )
    kept = sorted((await debian.sh(*listing)).split())
    assert len(kept) >= 3
    said = (done := await debian.machine.run(*PURGE, within=900)).text + done.stderr.decode()
    assert done.status == 0, said
    assert "stay in /var/lib/covey" in said
    assert "1 virtual server" in said
    assert sorted((await debian.sh(*listing)).split()) == kept
    gone = "/usr/bin/covey /usr/lib/covey /etc/covey /lib/systemd/system/covey-agent.service"
    assert (await debian.sh("sh", "-c", f"ls -d {gone} 2> /dev/null || true")) == ""
    assert (await debian.sh("systemctl", "list-units", "--all", "--no-legend", "covey-*")) == ""
    assert await debian.qemus() == before
    await debian.beats_on(*before)


async def test_installed_again_it_goes_on_with_what_was_there(debian: Installed, packages: tuple[Path, Path]) -> None:
    before = await debian.qemus()
    await debian.apt_install(packages[1])
    await is_untouched(debian, before)


async def is_untouched(debian: Installed, before: dict[str, int]) -> None:
    """The guest has the process that it had, has not missed a beat, and Covey knows it. `before` is what the machine's QEMUs were."""

    async def is_known() -> bool:
        g1.update(await told_of_g1(debian))
        return g1.get("state") == "running"

    g1: dict[str, Any] = {}
    await eventually(is_known, within=WITHIN_S)
    assert await debian.qemus() == before == {g1["id"]: g1["pid"]}
    assert g1["crashes"] == 0
    await debian.beats_on(g1["id"])


async def told_of_g1(debian: Installed) -> dict[str, Any]:
    """What Covey says of the guest; nothing while it does not answer."""
    done = await debian.machine.run("covey", "instance", "info", "g1", "--json")
    return dict(json.loads(done.text)) if done.status == 0 else {}


def are_others(services: dict[str, int], former: dict[str, int]) -> bool:
    """Whether all services run, and each in another process than it did."""
    return set(services) == set(UNITS) and not services.items() & former.items()
