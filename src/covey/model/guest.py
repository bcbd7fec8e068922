"""What the agent within a guest tells and does (qemu-guest-agent). Telemetry: asked for, never recorded."""

from __future__ import annotations

from dataclasses import dataclass

from covey.base.errors import BadInput, check
from covey.model.names import check_line

LARGEST_OUTPUT = 2**20  # bytes of each stream of a command that are brought back
LONGEST_RUN_S = 3600.0
MOST_WORDS = 1_000
MOST_KEYS = 100
LONGEST_PASSWORD = 1_000


@dataclass(frozen=True, slots=True)
class GuestInterface:
    name: str
    mac: str
    addresses: tuple[str, ...] = ()  # with prefix: 10.77.0.2/24


@dataclass(frozen=True, slots=True)
class GuestFileSystem:
    """`size` and `used` are 0 when the guest does not tell them."""

    mount: str
    type: str
    size: int = 0
    used: int = 0


@dataclass(frozen=True, slots=True)
class GuestFacts:
    """How the guest sees itself. Nothing of it is to be believed but by the guest's own user."""

    hostname: str = ""
    system: str = ""  # Debian GNU/Linux 12 (bookworm)
    kernel: str = ""
    interfaces: tuple[GuestInterface, ...] = ()
    file_systems: tuple[GuestFileSystem, ...] = ()


@dataclass(frozen=True, slots=True)
class GuestRun:
    """How a command in a guest ended: by its exit status, or by a signal. The outputs are base64, cut after LARGEST_OUTPUT bytes."""

    status: int
    signal: int
    stdout: str
    stderr: str
    cut: bool


def check_argv(argv: tuple[str, ...]) -> None:
    """Raises BadInput."""
    check(argv and argv[0], BadInput("the command is missing", "argv", "covey instance exec NAME -- COMMAND ..."))
    check(len(argv) <= MOST_WORDS, BadInput(f"at most {MOST_WORDS} words", "argv"))
    for word in argv:
        check("\0" not in word, BadInput("a word holds a zero byte", "argv"))


def check_user(user: str) -> None:
    """Raises BadInput."""
    check(user, BadInput("the user is missing", "user"))
    check_line(user, "user", 256)


def check_password(password: str) -> None:
    """Raises BadInput, without the password in it."""
    check(password, BadInput("the password is empty", "password"))
    check_line(password, "password", LONGEST_PASSWORD)


def check_keys(keys: tuple[str, ...]) -> None:
    """Raises BadInput."""
    check(len(keys) <= MOST_KEYS, BadInput(f"at most {MOST_KEYS} keys", "keys"))
    for key in keys:
        check_line(key, "keys", 16384)
