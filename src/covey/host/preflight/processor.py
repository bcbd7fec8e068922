"""Processors, memory, and virtualisation, which only a guest that has run proves."""

from __future__ import annotations

import re
from pathlib import Path

from covey.base.units import humane_size
from covey.host.hypervisor.prove import AUTO, KVM, TCG, find_obstacle
from covey.host.machine import Machine
from covey.model.preflight import ERROR, OK, WARNING, Finding

PROVE_WITHIN_S = 10.0
LEAST_MEMORY, LITTLE_MEMORY, LITTLE_FREE = 2**30, 4 * 2**30, 2**30  # bytes
_FLAGS = {"vmx": "Intel VT-x", "svm": "AMD-V"}
_NESTED = ("module/kvm_intel/parameters/nested", "module/kvm_amd/parameters/nested")


def look_at_processors(machine: Machine, proc: Path, sys: Path) -> Finding:
    facts = machine.facts()
    flags = set(re.findall(r"\S+", _line(proc / "cpuinfo", "flags") or _line(proc / "cpuinfo", "Features")))
    what = f"{facts.cpus} x {facts.cpu_model or 'a processor that does not tell its name'}"
    able = next((name for flag, name in _FLAGS.items() if flag in flags), "")
    if able:
        nested = any(_text(sys / path).strip() in ("Y", "1") for path in _NESTED)
        return Finding(OK, "processors", f"{what}, {able}{', nested guests too' if nested else ''}")
    if "hypervisor" in flags:
        why = "this machine is itself virtual, and its host does not pass virtualisation on"
        return Finding(WARNING, "processors", f"{what}, without virtualisation", why, "enable nested virtualisation on its host")
    why = "the processor lacks it, or the firmware keeps it off"
    return Finding(WARNING, "processors", f"{what}, without virtualisation", why, "enable VT-x or SVM in the firmware")


def look_at_memory(machine: Machine) -> Finding:
    all, free = machine.facts().memory, machine.load().memory_free
    what = f"{humane_size(all)}, {humane_size(free)} of it free"
    if all < LEAST_MEMORY:
        return Finding(ERROR, "memory", what, "Covey and libvirt need some 300M, and guests the rest", "give it at least 4G")
    if all < LITTLE_MEMORY or free < LITTLE_FREE:
        return Finding(WARNING, "memory", what, "few guests will fit", "add memory, or end what takes it: see top")
    return Finding(OK, "memory", what)


async def look_at_virtualisation(wanted: str, user: str) -> Finding:
    """Whether guests run, and fast: proven with a guest of a few instructions. `wanted` is auto, kvm or tcg."""
    obstacle = "" if wanted == TCG else await find_obstacle(PROVE_WITHIN_S, user, KVM)
    if wanted != TCG and not obstacle:
        return Finding(OK, "virtualisation", "a guest ran under KVM")
    if wanted == KVM:
        return Finding(ERROR, "virtualisation", f"KVM does not work: {obstacle}", "", "enable it in the firmware; modprobe kvm")
    nothing = await find_obstacle(PROVE_WITHIN_S, user, TCG)
    if nothing:
        return Finding(ERROR, "virtualisation", f"no guest runs, not even emulated: {nothing}", "", "apt install qemu-system-x86")
    if wanted == AUTO:
        why = f"KVM does not work: {obstacle}"
        return Finding(WARNING, "virtualisation", "guests are emulated, and slow", why, "enable it in the firmware; modprobe kvm")
    return Finding(OK, "virtualisation", "a guest ran, emulated, as was asked for")


def _line(path: Path, name: str) -> str:
    for line in _text(path).splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value
    return ""


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
