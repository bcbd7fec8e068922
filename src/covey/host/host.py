"""One machine: all its drivers together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from covey.base.errors import Refused, require
from covey.host.doors import Doors
from covey.host.export.protocol import Exports, Fetches
from covey.host.filter.protocol import Filters
from covey.host.guest.protocol import Guests
from covey.host.hypervisor.protocol import Hypervisor
from covey.host.image.protocol import Images
from covey.host.machine import Machine
from covey.host.migration.protocol import Neighbours
from covey.host.network.protocol import Networks
from covey.host.rights import Rights
from covey.host.storage.protocol import Attachment, Storage
from covey.host.upload.protocol import Uploads
from covey.model.pool import Place, Volume


@dataclass(frozen=True, slots=True)
class Host:
    machine: Machine
    storages: Mapping[str, Storage]  # by template
    images: Images
    hypervisor: Hypervisor
    networks: Networks
    guests: Guests
    filters: Filters
    uploads: Uploads
    exports: Exports
    doors: Doors
    fetches: Fetches
    rights: Rights
    neighbours: Neighbours

    def storage(self, place: Place) -> Storage:
        return require(
            self.storages.get(place.template),
            Refused(f"this machine has no driver for {place.template} pools", f"pool {place.path}", "upgrade Covey on it"),
        )

    def attachment(self, volume: Volume) -> Attachment:
        return self.storage(volume.place).attachment(volume)
