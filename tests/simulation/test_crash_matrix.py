"""The crash matrix (T6), made from the registry of step kinds: each kind, carried out and taken back, killed at each point of its way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from covey.model.plan import Plan
from covey.model.step import UNDOABLE, step_kinds
from covey.model.timings import USUAL
from covey.planner import plan as plan_of
from tests.kit.virtual import run_virtual
from tests.simulation.crash_rows import ROWS, Row
from tests.simulation.laws import broken_jobs, differences, ended_jobs
from tests.simulation.schedule import settle
from tests.simulation.world import World

POINTS = {
    "begun": "before the effect",
    "halfway": "after a part of the effect",
    "effected": "after the effect, before the reply",
    "commit": "after the reply, before the commit",
    "committed": "after the commit",
}
OF_TWO = ("leader", "cut off")  # of two controllers: it dies and stays so, or loses the store while the other one takes over
VICTIMS = ("controller", "agent", "both", *OF_TWO)
CUT_OFF_S = 2 * USUAL.lease_s
WITHOUT_HOST = ("answer@1", "expected@1", "volumes-found@1")  # nothing on the host, or one small file: there is no half of it
WITHOUT_UNDO_ON_HOST = (
    *WITHOUT_HOST,
    "accelerator@1",
    "image-brought@1",
    "asked-to-stop@1",
)  # the last: of a guest that did stop
A_COPY_STAYS = ("image-brought@1", "volume-brought@1")  # a second copy of what is there anyway: others may have begun to use it


def cases() -> list[tuple[str, str, str, str]]:
    """Kind, do or undo, point, victim."""
    found = []
    for kind, step in sorted(step_kinds().items()):
        for way in ("do", "undo") if step.role == UNDOABLE else ("do",):
            hostless = WITHOUT_HOST if way == "do" else WITHOUT_UNDO_ON_HOST
            points = [point for point in POINTS if not (point == "halfway" and kind in hostless)]
            found += [(kind, way, point, victim) for point in points for victim in VICTIMS]
    return found


def test_every_kind_of_step_has_a_row(record_property: Callable[[str, object], None]) -> None:
    assert sorted(ROWS) == sorted(step_kinds())
    record_property("crash matrix cases", len(cases()))
    print(f"crash matrix: {len(cases())} cases of {len(ROWS)} kinds")


@pytest.mark.parametrize(("kind", "way", "point", "victim"), cases())
def test_a_crash_leaves_new_or_old_and_never_between(kind: str, way: str, point: str, victim: str) -> None:
    run_virtual(_crash(ROWS[kind], kind, way == "undo", point, victim))


async def _crash(row: Row, kind: str, undo: bool, point: str, victim: str) -> None:
    world = World(0, row.nodes, controllers=2 if victim in OF_TWO else 1)
    world.slowest_s = 0.2
    await world.furnish(is_blank=row.is_blank)
    world.start()
    await asyncio.sleep(1.0)
    for request in row.before:
        before = await world.submit(request)
        await settle(world)
        assert ended_jobs(world)[before].job.state == "succeeded"
    things, records = _keys(world)

    index = _index(world, row, kind)
    world.lingers_s = 0.1
    job = await world.submit(row.request)
    if undo:
        _cancel_when_reached(world, job, index, "begun" if kind in WITHOUT_HOST else "halfway")
    reached = _kill_when_reached(world, point, job, index, undo, victim)
    await asyncio.wait_for(reached.wait(), 60.0)
    await settle(world)

    ended = ended_jobs(world)[job].job
    assert [*world.broken, *broken_jobs(world), *differences(world)] == []
    assert ended.state == ("cancelled" if undo else "succeeded"), ended.error
    assert [key for key in _keys(world)[0] if key.startswith("upload:")] == [], "what was sent is left"
    if victim in OF_TWO:
        assert len(set(world.led.values())) == 2, "the other controller has ended the job"
    if undo:
        left, written = _keys(world)
        alike = set if kind in A_COPY_STAYS else list
        assert (alike(left), written) == (alike(things), records), "what was taken back is not as it was"
        assert ended.left == ()
    await world.close()


def _index(world: World, row: Row, kind: str) -> int:
    """The number of the step under test in the plan that will be made."""
    assert world.leader
    assert world.leader.feed
    plan: Plan = plan_of(world.leader.feed.view, row.request)
    return next(number for number, step in enumerate(plan.steps) if step.kind == kind)


def _cancel_when_reached(world: World, job: int, index: int, at: str) -> None:
    """Somebody cancels the job while the step is under way, so that it must be taken back."""

    def spy(point: str, what: str) -> None:
        if (point, what) == (at, f"{job}.{index}") and world.leader and world.leader.engine:
            world.spies.remove(spy)
            world.cancels.append(asyncio.ensure_future(world.leader.engine.cancel(job, "anna")))

    world.spies.append(spy)


def _kill_when_reached(world: World, point: str, job: int, index: int, undo: bool, victim: str) -> asyncio.Event:
    """Kill at the point, once, and start anew half a second later; a leader of two is left to the other one."""
    reached = asyncio.Event()
    task = f"{job}.{index}.undo" if undo else f"{job}.{index}"

    def is_it(what: str) -> bool:
        if point not in ("commit", "committed"):
            return what == task
        number, state, step = what.split() if what else ("0", "", "0")
        if int(number) != job:
            return False
        if undo:
            return (state == "undoing" and int(step) == index - 1) or state == "cancelled"
        return (state == "running" and int(step) == index + 1) or state == "succeeded"

    def spy(at: str, what: str) -> None:
        if at == point and is_it(what):
            world.spies.remove(spy)
            world.note(f"KILL {victim} {POINTS[point]} of {task}")
            if victim in OF_TWO:
                _lose_leader(world, victim)
                asyncio.get_running_loop().call_later(CUT_OFF_S, reached.set)
                return
            if victim != "agent":
                world.controllers[-1].kill()
            if victim != "controller":
                for process in world.agents.values():
                    process.kill()
            asyncio.get_running_loop().call_later(0.5, revive)

    def revive() -> None:
        for node in world.machines:
            world.start_agent(node)
        if not world.controllers[-1].alive:
            world.start_controller()
        reached.set()

    world.spies.append(spy)
    return reached


def _lose_leader(world: World, how: str) -> None:
    """The other controller is on its own from here."""
    leader = world.leader
    assert leader
    if how == "leader":
        world.controllers_wanted = 1
        leader.kill()
    else:
        leader.cut_from_store()


def _keys(world: World) -> tuple[list[str], list[str]]:
    """What is on the machines, and which records there are, by key."""
    things = [key for machine in world.machines.values() for key, _ in machine.shelf.items() if key != "pids"]
    records = [entry.key for entry in world.data.list("state/", "", 0, False).entries]
    return things, [key for key in records if not key.startswith(("state/observed/", "state/leadership/"))]
