"""Uploads and the storage beside them on a bench, where a test can look behind them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from covey.host.shelf import FileShelf
from covey.host.storage.fake import FakeStorage
from covey.host.storage.file import FileStorage
from covey.host.storage.protocol import Storage
from covey.host.upload.fake import FakeUploads
from covey.host.upload.protocol import Uploads
from covey.host.upload.uploads import HostUploads
from covey.model.pool import Place


class Bench(Protocol):
    uploads: Uploads
    storage: Storage
    place: Place

    def left(self) -> Iterable[str]:
        """What there is of uploads."""
        ...


class HostBench:
    def __init__(self, directory: Path) -> None:
        self.place = Place("file", str(directory / "pool"))
        self.uploads: Uploads = HostUploads()
        self.storage: Storage = FileStorage()
        self.directory = Path(self.place.path) / "uploads"

    def left(self) -> Iterable[str]:
        return sorted(path.name for path in self.directory.iterdir()) if self.directory.exists() else []


class FakeBench:
    def __init__(self, directory: Path) -> None:
        self.place = Place("file", "/srv/pool")
        self._shelf = FileShelf(directory / "shelf")
        self.uploads: Uploads = FakeUploads(self._shelf)
        self.storage: Storage = FakeStorage(self._shelf)

    def left(self) -> Iterable[str]:
        return [key for key, _ in self._shelf.items("upload:")]
