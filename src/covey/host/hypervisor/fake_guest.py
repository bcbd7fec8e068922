"""What a pretended guest's agent answers: enough to be talked with."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from covey.base.errors import Refused, check
from covey.model.domain import Domain

SETS = ("guest-set-user-password", "guest-ssh-add-authorized-keys")


class FakeGuestAgent:
    """`echo` prints its words, `false` fails, `sleep` does not end before it is killed; there are no other programs, and no user but root."""

    def __init__(self) -> None:
        self._runs: dict[int, dict[str, Any]] = {}

    def answer(self, domain: Domain, command: str, arguments: Mapping[str, Any]) -> Any:
        """Raises Refused for what it does not know."""
        if command == "guest-exec":
            return {"pid": self._run(domain, str(arguments["path"]), [str(word) for word in arguments.get("arg", ())])}
        if command == "guest-exec-status":
            return self._runs.get(int(arguments["pid"]), {"exited": True, "exitcode": 127})
        if command in SETS:
            check(arguments["username"] == "root", _refused(domain, f"no user {arguments['username']}"))
            return {}
        known = _facts(domain)
        check(command in known, _refused(domain, f"the command {command} has not been found"))
        return known[command]

    def _run(self, domain: Domain, program: str, words: list[str]) -> int:
        pid = 1000 + len(self._runs)
        if program == "kill":
            self._runs[int(words[-1])] = {"exited": True, "signal": 9}
        elif program == "sleep":
            self._runs[pid] = {"exited": False}
        else:
            check(program in ("echo", "false"), _refused(domain, f'Failed to execute child process "{program}"'))
            said = base64.b64encode((" ".join(words) + "\n").encode()).decode()
            self._runs[pid] = {
                "exited": True,
                "exitcode": int(program == "false"),
                **({"out-data": said} if program == "echo" else {}),
            }
        return pid


def _facts(domain: Domain) -> dict[str, Any]:
    nics = [{"name": f"eth{nic.index}", "hardware-address": nic.mac, "ip-addresses": []} for nic in domain.nics]
    return {
        "guest-ping": {},
        "guest-get-host-name": {"host-name": domain.title},
        "guest-get-osinfo": {"pretty-name": "Pretended GNU/Linux", "kernel-release": "6.1.0"},
        "guest-network-get-interfaces": [{"name": "lo"}, *nics],
        "guest-get-fsinfo": [{"name": "vda1", "mountpoint": "/", "type": "ext4", "total-bytes": 2**31, "used-bytes": 2**30}],
    }


def _refused(domain: Domain, why: str) -> Refused:
    return Refused(f"its guest agent says: {why}", f"instance {domain.instance}")
