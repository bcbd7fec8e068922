"""What a Linux guest needs so that CPUs and memory plugged in while it runs are used without anybody's doing: most kernels, Debian's too,
leave them offline until somebody says otherwise."""

from __future__ import annotations

GROWTH_BOOTHOOK = """#!/bin/sh
# Use CPUs and memory that are plugged in while this machine runs. Runs at every boot; writes nothing that outlives it.
memory=/sys/devices/system/memory/auto_online_blocks
policy=/sys/module/memory_hotplug/parameters/online_policy
[ -w "$policy" ] && echo auto-movable > "$policy"
[ -w "$memory" ] && echo online > "$memory"
mkdir -p /run/udev/rules.d
cat > /run/udev/rules.d/80-covey-growth.rules << 'END-OF-RULES'
SUBSYSTEM=="cpu", ACTION=="add", TEST=="online", ATTR{online}=="0", ATTR{online}="1"
END-OF-RULES
udevadm control --reload || true
# Where udev came too early for it:
modprobe -q virtio_mem || true
exit 0
"""
