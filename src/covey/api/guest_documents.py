"""What is answered of a guest from within."""

from __future__ import annotations

from covey.api.documents import Document


class GuestInterfaceDocument(Document):
    name: str
    mac: str
    addresses: list[str]


class GuestFileSystemDocument(Document):
    mount: str
    type: str
    size: int
    used: int


class GuestDocument(Document):
    """How a guest sees itself, by the word of its own agent, now."""

    hostname: str
    system: str
    kernel: str
    interfaces: list[GuestInterfaceDocument]
    file_systems: list[GuestFileSystemDocument]


class GuestRunDocument(Document):
    """How a command in a guest ended. What it printed is in base64, cut after 1 MiB each."""

    status: int
    signal: int
    stdout: str
    stderr: str
    cut: bool


class GuestSetDocument(Document):
    """For which user it was set."""

    user: str
