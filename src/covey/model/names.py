"""What may be a name, an id, a text, an address: the rules for every word that comes from outside."""

from __future__ import annotations

import re
import uuid

from covey.base.errors import BadInput, check

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?", re.ASCII)
_TAG = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:=/-]*[A-Za-z0-9])?", re.ASCII)
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}", re.ASCII)
_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
LONGEST_NAME = 63
LONGEST_TEXT = 64 * 1024


def check_name(name: str, object: object = "") -> str:
    """A name for people and for DNS: at most 63 of a-z, 0-9, dot and hyphen, beginning and ending with a letter or digit.
    Raises BadInput."""
    check(
        isinstance(name, str) and len(name) <= LONGEST_NAME and _NAME.fullmatch(name) and ".." not in name,
        BadInput(
            f"{name!r} cannot be a name" if len(str(name)) < 200 else "a name of that length cannot be",
            object,
            "use at most 63 of a-z, 0-9, '.' and '-', beginning and ending with a letter or digit",
        ),
    )
    return name


def check_tag(tag: str, object: object = "") -> str:
    """Raises BadInput unless `tag` is at most 63 of letters, digits and ._:=/- ."""
    check(
        len(tag) <= LONGEST_NAME and _TAG.fullmatch(tag),
        BadInput(f"{tag[:80]!r} cannot be a tag", object, "use at most 63 letters, digits and ._:=/-"),
    )
    return tag


def check_text(text: str, object: object = "", longest: int = LONGEST_TEXT) -> str:
    """Free text: any Unicode save control characters other than line feed and tab. Raises BadInput."""
    check(len(text) <= longest, BadInput(f"the text is longer than {longest} characters", object))
    check(
        all(character.isprintable() or character in "\n\t" for character in text),
        BadInput("the text holds control characters", object, "remove them"),
    )
    return text


def check_line(text: str, object: object = "", longest: int = 1000) -> str:
    """Free text on one line. Raises BadInput."""
    check("\n" not in text and "\t" not in text, BadInput("the text must be one line", object))
    return check_text(text, object, longest)


def check_mac(mac: str, object: object = "") -> str:
    """A unicast MAC address, in lower case with colons. Raises BadInput."""
    lowered = mac.lower().replace("-", ":")
    check(
        _MAC.fullmatch(lowered) and not int(lowered[:2], 16) & 1 and lowered != "00:00:00:00:00:00",
        BadInput(f"{mac[:40]!r} is not a unicast MAC address", object, "write it like 02:c0:7e:11:22:33"),
    )
    return lowered


def check_uuid(text: str, object: object = "") -> str:
    """A UUID in its usual spelling, lower case. Raises BadInput."""
    try:
        return str(uuid.UUID(text))
    except ValueError as error:
        raise BadInput(f"{text[:80]!r} is not a UUID", object) from error


def check_sha256(text: str, object: object = "") -> str:
    """64 hexadecimal digits, or "". Raises BadInput."""
    lowered = text.lower()
    check(not text or _SHA256.fullmatch(lowered), BadInput(f"{text[:80]!r} is not a SHA-256", object, "64 hex digits"))
    return lowered


def check_path(path: str, object: object = "") -> str:
    """An absolute, normal path of printable characters, not the root. Raises BadInput."""
    check_line(path, object)
    parts = path.split("/")
    check(
        path.startswith("/") and len(path) > 1 and not any(part in ("", ".", "..") for part in parts[1:]),
        BadInput(f"{path!r} is not an absolute path", object, "begin with / and use no '.', '..' or '//'"),
    )
    return path
