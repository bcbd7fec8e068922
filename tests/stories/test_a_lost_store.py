"""A store that was deleted or emptied beside what Covey made: it is not begun anew."""

from __future__ import annotations

import pytest

from tests.kit.covey_up import a_covey


@pytest.mark.parametrize("how", ["deleted", "emptied"])
async def test_covey_up_refuses_with_the_way_out_and_runs_again_with_a_copy(how: str) -> None:
    async with a_covey("fake", initialised=False) as covey:
        await covey.do("cluster init lab --accelerator tcg --yes")
        await covey.stop()
        store = covey.state / "store" / "covey.db"
        copy = store.read_bytes()
        store.write_bytes(b"") if how == "emptied" else store.unlink()
        for other in store.parent.glob("covey.db-*"):
            other.unlink()
        said = await covey.fail(
            f"up --state {covey.state} --hosts fake",
            status=2,
            says=("the store is empty, but Covey has worked here", "try: put a copy"),
        )
        assert "remembers a leader" in said
        store.write_bytes(copy)
        await covey.start()
        assert (await covey.json("cluster info"))["name"] == "lab"
