"""A shell within a Linux guest (tests.kit.linux_guest), by `covey instance exec` alone."""

from __future__ import annotations

from tests.kit.covey_up import DONE, CoveyUp
from tests.kit.eventually import eventually
from tests.kit.linux_guest import ensure_linux_guest

BOOTS_WITHIN_S = 240.0  # by emulation, on a machine that does much else


class Shell:
    def __init__(self, covey: CoveyUp, name: str) -> None:
        self.covey = covey
        self.name = name

    async def is_up(self) -> None:
        """Wait until the guest has booted."""

        async def answers() -> bool:
            return (await self.covey.ask(f"instance exec {self.name} -- true")).status == DONE

        await eventually(answers, within=BOOTS_WITHIN_S)

    async def run(self, script: str, within: float = 30.0) -> str:
        """What a script printed that must succeed, each command of it."""
        return await self.covey.do(f"instance exec {self.name} --timeout {within:g}s -- sh -ec", script)

    async def succeeds(self, script: str) -> bool:
        return (await self.covey.ask(f"instance exec {self.name} -- sh -ec", script)).status == DONE

    async def becomes(self, script: str, within: float = 20.0) -> None:
        """Wait until a script succeeds."""

        async def claim() -> bool:
            return await self.succeeds(script)

        await eventually(claim, within)

    async def configure(self, index: int = 0) -> None:
        """Set a NIC up as Covey's seed would tell cloud-init: the addresses that it has by Covey's account, and the network's gateways."""
        nic = next(nic for nic in (await self.covey.instance(self.name))["nics"] if nic["index"] == index)
        network = await self.covey.json(f"network info {nic['network']}")
        lines = [f"echo 0 > /proc/sys/net/ipv6/conf/eth{index}/accept_dad", f"ip link set eth{index} up"]
        for address, subnet, gateway in (("address", "subnet", "gateway"), ("address6", "subnet6", "gateway6")):
            if nic[address]:
                lines.append(f"ip addr add {nic[address]}/{network[subnet].partition('/')[2]} dev eth{index}")
                lines.append(f"ip {'-6 ' if subnet == 'subnet6' else ''}route add default via {network[gateway]}")
        await self.run("; ".join(lines))


async def add_micro(covey: CoveyUp) -> None:
    """The image `micro`: a CD with the Linux guest."""
    await covey.do(f"image add micro --source {await ensure_linux_guest()}")
