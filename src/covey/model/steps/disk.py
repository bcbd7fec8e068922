"""Steps on disks and their volumes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from covey.base.units import humane_size
from covey.model.domain import DomainDisk
from covey.model.pool import Place, Volume
from covey.model.step import FORWARD, UNDOABLE, Step
from covey.model.steps.instance import StepOnInstance


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureVolume(Step, kind="volume@1", role=UNDOABLE):
    """The volume exists on the node with at least its size: empty, or a clone of `image` when one is named. Returns `size`."""

    volume: Volume
    image: str  # id, or "" for an empty volume

    @property
    def object(self) -> str:
        return f"volume/{self.volume.id}"

    @property
    def title(self) -> str:
        return f"volume {humane_size(self.volume.size)} {self.volume.format}" + (" cloned from the image" if self.image else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureCopy(Step, kind="copied@1", role=UNDOABLE):
    """The volume exists and shows what `source` shows, which nobody writes to; it needs nothing else to be read. Returns `size`."""

    volume: Volume
    source: Volume

    @property
    def object(self) -> str:
        return f"volume/{self.volume.id}"

    @property
    def title(self) -> str:
        return f"full copy of a disk of {humane_size(self.volume.size)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureImported(Step, kind="imported@1", role=UNDOABLE):
    """The volume exists and shows what the upload, an image of `format` in the same place, shows. Taken back, the upload goes, too.
    Returns `size`."""

    volume: Volume
    upload: str  # id
    format: str

    @property
    def object(self) -> str:
        return f"volume/{self.volume.id}"

    @property
    def title(self) -> str:
        return f"volume {humane_size(self.volume.size)} {self.volume.format} made of the image that was sent"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureVolumeOffered(Step, kind="volume-offered@1", role=UNDOABLE):
    """The agent of the node `to` (id), and no other, may fetch what the volume shows. Taken back, nobody may."""

    volume: Volume
    to: str
    to_name: str

    @property
    def object(self) -> str:
        return f"volume/{self.volume.id}"

    @property
    def title(self) -> str:
        return f"volume {humane_size(self.volume.size)} may be fetched by {self.to_name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureVolumeBrought(Step, kind="volume-brought@1", role=UNDOABLE):
    """The volume exists and shows what `source` shows on the node `origin` (id), whose agent listens at `address` and where nobody writes
    to it. It lies on `image` (id) as `source` does, or with "" on nothing. Each part is checked by its SHA-256; what was cut off goes on
    where it stopped. Returns `size`."""

    volume: Volume
    source: Volume
    image: str
    origin: str
    origin_name: str
    address: str

    @property
    def object(self) -> str:
        return f"volume/{self.volume.id}"

    @property
    def title(self) -> str:
        return f"volume {humane_size(self.volume.size)} brought from {self.origin_name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureUploadAbsent(Step, kind="upload-absent@1", role=FORWARD):
    """Nothing of the image that was sent is left beside the volumes of `place`."""

    place: Place
    upload: str  # id

    @property
    def object(self) -> str:
        return f"upload/{self.upload}"

    @property
    def title(self) -> str:
        return "image that was sent removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureFlat(StepOnInstance, kind="flat@1", role=FORWARD):
    """The volume of disk `disk` lies on nothing, and shows what it showed: what it read from below is copied into it, by QEMU while the guest
    runs."""

    in_place: ClassVar[bool] = True
    disk: int
    volume: Volume

    @property
    def title(self) -> str:
        return f"disk {self.disk} stands alone, all it shows copied into it"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureVolumeSize(StepOnInstance, kind="volume-size@1", role=FORWARD):
    """The volume has at least its size. Never shrinks. While the instance runs, QEMU holds the file's lock and grows it. Returns `size`."""

    in_place: ClassVar[bool] = True
    disk: int
    volume: Volume

    @property
    def title(self) -> str:
        return f"volume of disk {self.disk} grown to {humane_size(self.volume.size)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureGuestSeesSize(StepOnInstance, kind="guest-sees-size@1", role=FORWARD):
    """A running guest's disk shows at least `size` bytes; holds also while the guest is stopped."""

    disk: int
    size: int

    @property
    def title(self) -> str:
        return f"guest sees disk {self.disk} of {humane_size(self.size)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureVolumeAbsent(Step, kind="volume-absent@1", role=FORWARD):
    """The volume is gone from the node."""

    volume: Volume

    @property
    def object(self) -> str:
        return f"volume/{self.volume.id}"

    @property
    def title(self) -> str:
        return f"volume {humane_size(self.volume.size)} removed"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureVolumesFound(StepOnInstance, kind="volumes-found@1", role=UNDOABLE):
    """The volumes are on the node; unless they are `needed`, a missing one counts nothing. Changes nothing. Returns `used`, the bytes that
    they take."""

    volumes: tuple[Volume, ...]
    needed: bool

    @property
    def title(self) -> str:
        count = len(self.volumes)
        return f"{count} volume{'' if count == 1 else 's'} found"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureDiskAttached(StepOnInstance, kind="disk-attached@1", role=UNDOABLE):
    """The disk is in the domain's definition and, when the domain runs, in the guest."""

    disk: DomainDisk

    @property
    def title(self) -> str:
        return f"disk {self.disk.index} attached"


@dataclass(frozen=True, slots=True, kw_only=True)
class EnsureDiskDetached(StepOnInstance, kind="disk-detached@1", role=FORWARD):
    """The disk is neither in the domain's definition nor in the guest."""

    disk: int
    timeout_s: float

    @property
    def title(self) -> str:
        return f"disk {self.disk} detached"
