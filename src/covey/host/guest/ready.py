"""How a guest reports that it is ready: a script and a unit of systemd, installed by the seed's boothook.

A boothook, because cloud-init runs it early at every boot, whatever the user-data is, and merges it with nothing. The
unit is `simple` and waits by itself: ordered after cloud-final.service it would close a circle, for that unit itself
waits for multi-user.target. It waits for cloud-init's result file and not by `cloud-init status --wait`, which in
version 22.4 (Debian 12) returns as soon as one stage has failed, before the user's scripts have run. A write to the
port blocks in the guest's kernel until the host has opened it (drivers/char/virtio_console.c), so a host that connects
late still reads the report.

The report is one line of JSON: {"ready": true, "boot": BOOT_ID, "addresses": [...], "status":
"done"|"error"|"degraded", "seconds": UPTIME}. It comes every 5 seconds during the first minute, then once a minute, so
that an agent started anew learns it too.
"""

from __future__ import annotations

from covey.model.domain import READY_CHANNEL

_PORT = f"/dev/virtio-ports/{READY_CHANNEL}"
_SCRIPT = "/usr/local/lib/covey/ready"
_UNIT = "/etc/systemd/system/covey-ready.service"

READY_SCRIPT = f"""#!/bin/sh
# Tell the host over the virtio port that this machine is ready. Installed by its cloud-init seed; harmless elsewhere.
port={_PORT}
status=done
if [ -e /run/cloud-init/enabled ]; then
    until [ -e /run/cloud-init/result.json ] || systemctl is-failed --quiet cloud-final.service; do sleep 1; done
    cloud-init status > /dev/null 2>&1
    case $? in
        0) status=done ;;
        2) status=degraded ;;
        *) status=error ;;
    esac
fi
read -r boot < /proc/sys/kernel/random/boot_id
read -r seconds idle < /proc/uptime
sent=0
while [ -e "$port" ]; do
    addresses=
    for address in $(hostname -I); do
        addresses="$addresses${{addresses:+, }}\\"$address\\""
    done
    # Opened and closed for each line: a port that is held open would keep others out.
    printf '{{"ready": true, "boot": "%s", "addresses": [%s], "status": "%s", "seconds": %s}}\\n' \\
        "$boot" "$addresses" "$status" "$seconds" > "$port"
    sent=$((sent + 1))
    if [ "$sent" -lt 12 ]; then sleep 5; else sleep 60; fi
done
"""

READY_UNIT = f"""[Unit]
Description=Report to the host that this machine is ready
ConditionPathExists={_PORT}

[Service]
Type=simple
ExecStart=/bin/sh {_SCRIPT}
Restart=on-failure
RestartSec=5

[Install]
WantedBy=multi-user.target
"""

_BOOTHOOK = """#!/bin/sh
# Install the report of readiness, or bring it up to date. Runs at every boot, before most services.
set -e
umask 022
new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
cat > "$new/ready" << 'END-OF-SCRIPT'
{script}END-OF-SCRIPT
cat > "$new/unit" << 'END-OF-UNIT'
{unit}END-OF-UNIT
if cmp -s "$new/ready" {script_path} && cmp -s "$new/unit" {unit_path}; then
    exit 0
fi
mkdir -p {script_directory}
cp "$new/ready" {script_path}
cp "$new/unit" {unit_path}
systemctl daemon-reload
systemctl enable --quiet covey-ready.service
# Not waited for: it starts when the basic system is up, and this runs before that.
systemctl start --no-block covey-ready.service
"""


def render_boothook() -> str:
    """The text/cloud-boothook part of the vendor-data."""
    return _BOOTHOOK.format(
        script=READY_SCRIPT,
        unit=READY_UNIT,
        script_path=_SCRIPT,
        script_directory=_SCRIPT.rpartition("/")[0],
        unit_path=_UNIT,
    )
