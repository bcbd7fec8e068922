"""instance list and info."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import click

from covey.base.errors import CoveyError
from covey.base.units import humane_rate
from covey.cli.instance.noun import command
from covey.cli.instance.removed import show_removed
from covey.cli.lists import names_of, show_json, show_list
from covey.cli.rules import rule_text
from covey.cli.session import Session
from covey.cli.text import NONE, Column, as_text, plain, plural, say, since, size, sized, spoken_size, timed, when
from covey.cli.verbs import Look, lists, named

_AMISS = ("crashed", "missing", "paused")
COLUMNS = (
    plain("name"),
    plain("state"),
    plain("node"),
    plain("cpus", right=True),
    sized("memory"),
    Column(
        "disk", ("disks",), lambda item, now: size(sum(d["size"] for d in item["disks"])) if item["disks"] else NONE, right=True
    ),
    Column("address", ("addresses",), lambda item, now: item["addresses"][0] if item["addresses"] else NONE),
    plain("protection"),
    Column("remark", ("remark",), lambda item, now: item["remark"] or ""),
    plain("id"),
    plain("desired"),
    plain("reason"),
    plain("ready"),
    plain("addresses"),
    plain("image"),
    plain("iso"),
    plain("tags"),
    plain("owner"),
    plain("protected"),
    Column("notes", ("notes",), lambda item, now: item["notes"] or NONE),
    plain("machine"),
    plain("generation", right=True),
    Column("pid", ("pid",), lambda item, now: as_text(item["pid"] or None), right=True),  # not 0: `kill 0` ends its caller
    plain("crashes", right=True),
    plain("firmware"),
    plain("cpu_model"),
    plain("max_cpus", right=True),
    sized("max_memory"),
    Column("networks", ("nics",), lambda item, now: ",".join(nic["network"] for nic in item["nics"]) or NONE),
    Column("mac", ("nics",), lambda item, now: ",".join(nic["mac"] for nic in item["nics"]) or NONE),
    Column("cpu", ("cpu_percent",), lambda item, now: _percent(item["cpu_percent"]), right=True),
    sized("memory_used"),
    Column("since", ("since_at",), lambda item, now: since(item["since_at"], now), right=True),
    timed("created", "created_at"),
)
SHOWN = ("name", "state", "node", "cpus", "memory", "disk", "address", "protection", "remark")


@command.command(
    "list",
    examples=[
        "covey instance list",
        "covey instance list --filter 'state=running tag=web memory>2G'",
        "covey instance list --columns name,address --no-header",
        "covey instance list --json",
        "covey instance list --removed",
    ],
)
@click.option("--removed", is_flag=True, help="What was removed and may come back: instances and disks.")
@lists(*names_of(COLUMNS))
@click.pass_obj
def list_(session: Session, /, removed: bool, look: Look) -> None:
    """All instances.

    With --removed the columns are: name what disk node disks size used removed kept_until by reason addresses id.
    """
    if removed:
        show_removed(session, look)
        return
    show_list(session, "instances", look, COLUMNS, SHOWN, "instance", _footer)


def _footer(items: list[dict[str, Any]]) -> str:
    """3 instances: 2 running, 1 crashed. 1 problem: covey status"""
    states = Counter(item["state"] for item in items if "state" in item)
    counted = ", ".join(f"{count} {state}" for state, count in states.most_common())
    amiss = sum(states[state] for state in _AMISS)
    whole = plural(len(items), "instance") + (f": {counted}" if counted else "")
    return f"{whole}. {plural(amiss, 'problem')}: covey status" if amiss else whole


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{value:.0f} %"


@command.command("info", examples=["covey instance info web1", "covey instance info web1 --json"])
@named("instance")
@click.option("--json", "as_json", is_flag=True, help="The whole object as JSON.")
@click.pass_obj
def info(session: Session, /, name: str, as_json: bool) -> None:
    """What it is, how it does, and what happens when its node dies."""
    answer = session.client.answer("instances", name)
    instance = answer.json()
    if as_json:
        show_json(instance)
        return
    guest = _guest(session, instance)
    jobs = session.client.list("jobs", filter=f"object={name}", most=1).items
    for line in _sentences(instance, answer.at or 0.0):
        say(line)
    for line in _guest_lines(instance, guest):
        say(line)
    for job in jobs[:1]:
        say(_last_job(job, answer.at or 0.0))


def _sentences(instance: dict[str, Any], now: float) -> Iterator[str]:
    name, node = instance["name"], instance["node"]
    yield f"{name}  {_state(instance, now)}"
    if instance["remark"] and not instance["remark"].startswith("at next start"):  # told below
        yield f"  Remark: {instance['remark']}"
    yield f"  If {node} dies: {_when_its_node_dies(instance)}"
    if instance["gave_up"]:
        yield f"  It stays down, as it crashed too often: covey instance console {name} --log, then: covey instance start {name}"
    elif instance["desired"] == "running":
        yield f"  If it crashes: started again on {node}, by itself."
    else:
        yield f"  It stays stopped{_by(instance)}: covey instance start {name}"
    if instance["protected"]:
        yield f"  It is protected: to remove it, first covey instance modify {name} --no-protected"
    yield f"  CPU     {_cpu(instance)}      Memory  {_memory(instance)}"
    yield f"  Machine {', '.join(_machine(instance))}      Generation {instance['generation']}"
    if instance["pending"]:
        yield f"  Waits   at next start: {', '.join(_waiting(one) for one in instance['pending'])}"
        yield f"          to have it now: covey instance reboot {name}"
    for label, key in (("Image", "image"), ("CD-ROM", "iso")):
        if instance[key]:
            yield f"  {label:<7} {instance[key]}"
    for disk in instance["disks"]:
        of_image = f", of {disk['image']}" if disk["image"] else ""
        yield f"  Disk {disk['index']}  {spoken_size(disk['size'])} {disk['format']} in pool {disk['pool']}{of_image}"
    for nic in instance["nics"]:
        addresses = " and ".join(filter(None, (nic["address"], nic["address6"]))) or "no address"
        yield f"  NIC {nic['index']}   {', '.join([nic['network'], nic['mac'], addresses, *_of_nic(nic)])}"
    if instance["forwards"]:
        yield f"  Ports   of the node, {', '.join(instance['forwards'])} of the guest"
    for label, value in (
        ("Firewall", ", ".join(instance["firewalls"])),
        ("Tags", ", ".join(instance["tags"])),
        ("Owner", instance["owner"]),
        ("Notes", instance["notes"]),
    ):
        if value:
            yield f"  {label:<7} {value}"
    yield f"  On the host: virsh domain {instance['id']}{', pid ' + str(instance['pid']) if instance['pid'] else ''}"


def _machine(instance: dict[str, Any]) -> Iterator[str]:
    """pc-q35-7.2 (pinned), UEFI, CPU x86-64-v2, boots from disk, network"""
    yield f"{instance['machine']} (pinned)"
    yield instance["firmware"].upper()
    if instance["cpu_model"]:
        yield f"CPU {instance['cpu_model']}"
    if instance["boot"]:
        yield f"boots from {', '.join(instance['boot'])}"
    if instance["raw_xml"]:
        yield f"with raw XML of {plural(len(instance['raw_xml'].splitlines()), 'line')}"


def _waiting(one: dict[str, Any]) -> str:
    return f"{one['field'].replace('_', ' ')} {one['then']} (now {one['now']})"


def _of_nic(nic: dict[str, Any]) -> Iterator[str]:
    """What is unusual about a NIC."""
    if not nic["up"]:
        yield "link down"
    if nic["also"]:
        yield f"also {', '.join(nic['also'])}"
    if not nic["guarded"]:
        yield "spoofing allowed"
    if nic["firewalls"]:
        yield f"firewall {', '.join(nic['firewalls'])}"
    if nic["rules"]:
        yield f"allows {'; '.join(map(rule_text, nic['rules']))}"
    for way in ("in", "out"):
        if nic[f"limit_{way}"]:
            yield f"at most {humane_rate(nic[f'limit_{way}'])} {way}"


def _state(instance: dict[str, Any], now: float) -> str:
    """running on n1 since 2026-11-18 22:04:00 (1d 7h); guest answers, 10.7.0.11"""
    moment = instance["since_at"]
    state = f"{instance['state']} on {instance['node']}"
    if moment:
        state += f" since {when(moment)} ({since(moment, now)})"
    if instance["state"] != "running":
        reason = {"guest": "shut down from within", "covey": "stopped by order"}.get(instance["reason"], instance["reason"])
        return f"{state}; {reason}" if reason not in ("", instance["state"]) else state
    guest = "the guest is ready" if instance["ready"] else "the guest has not reported ready"
    if instance["ready_status"] not in ("", "ready", "done"):
        guest += f" ({instance['ready_status']})"
    return "; ".join([state, ", ".join([guest, *instance["addresses"]])])


def _when_its_node_dies(instance: dict[str, Any]) -> str:
    if not instance["protection"].startswith("none"):
        return f"{instance['protection']}."
    if not instance["disks"]:
        return "it is down until its node is back; it has no disks."
    return "down until its node is back; its disks have no second copy."


def _by(instance: dict[str, Any]) -> str:
    who = instance["desired_by"]
    return f" (shut down by its {who})" if who == "guest" else ""


def _cpu(instance: dict[str, Any]) -> str:
    used = instance["cpu_percent"]
    most = f" of at most {instance['max_cpus']}" if instance["max_cpus"] > instance["cpus"] else ""
    return f"{instance['cpus']}{most}" if used is None else f"{instance['cpus']}{most}, {used:.0f} % of one now"


def _memory(instance: dict[str, Any]) -> str:
    used = instance["memory_used"]
    whole = spoken_size(instance["memory"])
    if instance["max_memory"] > instance["memory"]:
        whole += f" of at most {spoken_size(instance['max_memory'])}"
    return whole if used is None else f"{whole}, {size(used)} used"


def _last_job(job: dict[str, Any], now: float) -> str:
    ago = since(job.get("created_at"), now)
    why = f': "{job["reason"]}"' if job.get("reason") else ""
    return f"  Last    job {job['id']} {job['title']} {job['state']}, {ago} ago, by {job['user']}{why}"


def _guest(session: Session, instance: dict[str, Any]) -> dict[str, Any] | None:
    """How the guest sees itself; None when it has no agent that answers."""
    if instance["state"] != "running":
        return None
    try:
        return session.client.get("instances", instance["name"], "guest")
    except CoveyError:
        return None  # what is known without it is worth showing


def _guest_lines(instance: dict[str, Any], guest: dict[str, Any] | None) -> Iterator[str]:
    if instance["state"] != "running":
        return
    if guest is None:
        yield "  Inside  no answer from its guest agent (is qemu-guest-agent installed there?)"
        return
    yield "  Inside  " + ", ".join(text for text in (guest["hostname"], guest["system"], guest["kernel"]) if text)
    for interface in guest["interfaces"]:
        yield f"    {interface['name']}  {', '.join(interface['addresses']) or 'no address'}"
    for mounted in guest["file_systems"]:
        filled = f", {size(mounted['used'])} of {size(mounted['size'])} used" if mounted["size"] else ""
        yield f"    {mounted['mount']}  {mounted['type']}{filled}"
