"""When each collection changed last: what makes an ETag cheap."""

from __future__ import annotations

from collections.abc import Iterable

from covey.model.record import COLLECTIONS, PREFIX
from covey.model.view import ClusterView
from covey.store.feed import Changes, Feed


class Tally:
    """Listens to the feed. `nonce` tells this process's counts of telemetry from those of another."""

    def __init__(self, feed: Feed, nonce: str) -> None:
        self.changed = dict.fromkeys(COLLECTIONS, feed.view.revision)  # collection -> revision
        self.telemetry = 0  # how often nodes have told of themselves
        self.answering = 0  # how often agents came or went
        self._nonce = nonce
        feed.listen(self._hear)

    def revision(self, collections: Iterable[str]) -> int:
        return max(self.changed[collection] for collection in collections)

    def etag(self, view: ClusterView, collections: Iterable[str], live: bool) -> str:
        """The ETag of what is made from these collections and, when `live`, from telemetry."""
        incarnation = view.leadership.incarnation if view.leadership else 0
        tail = f".{self._nonce}{self.telemetry}" if live else f".{self._nonce}{self.answering}a"
        return f'"{incarnation}.{self.revision(collections)}{tail}"'

    def _hear(self, before: ClusterView, after: ClusterView, changes: Changes) -> None:
        for key, _ in changes:
            self.changed[key[len(PREFIX) :].partition("/")[0]] = after.revision
        if before.telemetry is not after.telemetry:
            self.telemetry += 1
            if before.telemetry.keys() != after.telemetry.keys():
                self.answering += 1
