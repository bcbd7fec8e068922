"""A backup is the same whatever store it is made of: all records of one moment."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from covey.base.errors import Refused
from covey.model.job import Leadership
from covey.model.record import key_of, to_bytes
from covey.store.backup import take, unpack
from covey.store.protocol import Put, Store
from tests.kit.builders import NOW, a_cluster_record, a_node, an_instance

FILES = {"ca.pem": "certificate", "ca.key": "key"}
LEADER = Leadership(3, 7, "n1", NOW)


async def furnish(store: Store) -> None:
    records = (a_cluster_record(), a_node(), an_instance("web1"), LEADER)
    await store.txn((), [Put(key_of(record), to_bytes(record)) for record in records])
    await store.txn((), [Put("secret/1", b"\xff\x00"), Put("meta/schema", b'{"schema":1,"release":"0.1.0"}')])


async def test_it_holds_all_records_secrets_and_the_authority_and_says_what_it_is(store: Store) -> None:
    await furnish(store)
    await store.txn((), [Put("idempotency/a", b"{}")])
    content = unpack(await take(store, FILES, NOW, "n1"), "file")
    assert content.files == FILES
    assert content.records["secret/1"] == b"\xff\x00"
    assert content.records[key_of(LEADER)] == to_bytes(LEADER)
    assert not any(key.startswith(("idempotency/", "lease/")) for key in content.records)
    head = content.head
    assert (head.made_at, head.made_on, head.incarnation, head.epoch, head.instances, head.nodes) == (NOW, "n1", 3, 7, 1, 1)


async def test_what_is_written_together_is_in_it_together(store: Store) -> None:
    """A record and its secret are changed in one transaction, again and again, while backups are made."""
    await furnish(store)

    async def change() -> None:
        number = 0
        while True:
            number += 1
            value = str(number).encode()
            await store.txn((), [Put("secret/2", value), Put(key_of(an_instance("web2")), value)])
            await asyncio.sleep(0.01)

    changing = asyncio.create_task(change())
    for _ in range(5):
        content = unpack(await take(store, FILES, NOW, "n1"), "file")
        assert content.records.get("secret/2") == content.records.get(key_of(an_instance("web2")))
    changing.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await changing


async def test_of_nothing_no_backup_is_made(store: Store) -> None:
    with pytest.raises(Refused, match="no cluster here"):
        await take(store, FILES, NOW, "n1")
