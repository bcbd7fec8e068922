"""A pool on a server that is gone: everything else goes on."""

from __future__ import annotations

import json

from tests.kit.covey_up import a_covey
from tests.kit.eventually import eventually
from tests.kit.silence import silent

TOLD_WITHIN_S = 40.0  # telemetry comes every 10 s, and a look may take 5


async def test_it_is_told_of_and_nothing_else_waits_for_it() -> None:
    async with a_covey() as covey:
        await covey.do("instance add web1 --image tick")
        far = covey.directory / "far"
        await covey.do("pool add far --path", str(far))

        async def problem() -> str:
            status = json.loads((await covey.ask("status --json")).out)
            return "; ".join(f"{line['object']}: {line['what']}" for line in status["findings"])

        with silent(far):

            async def is_told() -> bool:
                return "pool far" in await problem() and "does not answer" in await problem()

            await eventually(is_told, within=TOLD_WITHIN_S)
            await covey.goes_on("web1")
            await covey.do("instance add web2 --image tick")
            await covey.goes_on("web2")
            assert "agent does not answer" not in await problem()
            await covey.fail("instance add web3 --disk 1G,pool=far", status=3, says=("its room on n1 is not known",))
