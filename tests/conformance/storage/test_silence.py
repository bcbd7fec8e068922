"""A pool whose file system does not answer: only it is unknown, and it costs one thread."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from covey.base.errors import Unavailable
from covey.host.storage.file import FileStorage
from covey.host.storage.looks import Looks
from covey.model.pool import Place
from tests.kit.builders import a_volume
from tests.kit.eventually import eventually
from tests.kit.silence import silent

pytestmark = pytest.mark.real
SOON_S = 1.0


def threads() -> int:
    return sum(thread.name == "apart" for thread in threading.enumerate())


async def test_a_hung_pool_is_unavailable_while_others_answer_and_comes_back(tmp_path: Path) -> None:
    storage = FileStorage(looks=Looks(SOON_S))
    hung, well = (Place("file", str(tmp_path / name)) for name in ("hung", "well"))
    for place in (hung, well):
        await storage.ensure_pool(place, "job-1")
    with silent(Path(hung.path)):
        answers = await asyncio.gather(storage.space(hung), storage.space(well), return_exceptions=True)
        assert isinstance(answers[0], Unavailable) and "does not answer" in answers[0].what
        assert not isinstance(answers[1], BaseException) and answers[1].size
        for _ in range(5):  # at once, and without a thread more
            with pytest.raises(Unavailable, match="does not answer"):
                await asyncio.wait_for(storage.volumes(hung), SOON_S / 2)
            with pytest.raises(Unavailable, match="does not answer"):
                await asyncio.wait_for(storage.ensure_volume(replace(a_volume(), place=hung), "job-1", None), SOON_S / 2)
        assert threads() == 1
    await eventually(lambda: threads() == 0)
    assert (await storage.space(hung)).size
