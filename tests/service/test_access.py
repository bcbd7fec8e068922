"""Who may do what: the whole matrix, written out."""

from __future__ import annotations

import pytest

from covey.base.errors import Denied
from covey.model import codec
from covey.model.request import Request
from covey.model.token import Token
from covey.service.access import PERMISSIONS, Principal, allowed, check_allowed, digest_of, principal_of

VIEWERS = {
    "cluster.read",
    "node.read",
    "image.read",
    "pool.read",
    "network.read",
    "firewall.read",
    "forward.read",
    "snapshot.read",
    "instance.read",
    "guest.read",
    "job.read",
    "metrics.read",
    "event.read",
    "api.read",
}


@pytest.mark.parametrize("permission", sorted(PERMISSIONS))
def test_an_admin_may_do_everything_that_there_is(permission: str) -> None:
    assert allowed("admin", permission)


@pytest.mark.parametrize("permission", sorted(PERMISSIONS))
def test_a_viewer_may_read_all_but_tokens_and_consoles_and_changes_nothing(permission: str) -> None:
    assert allowed("viewer", permission) == (permission in VIEWERS)


@pytest.mark.parametrize("kind", sorted(codec.members(Request)))
def test_every_request_needs_a_permission_of_its_kind_which_viewers_lack(kind: str) -> None:
    assert kind in PERMISSIONS
    with pytest.raises(Denied):
        check_allowed(Principal("eye", "viewer"), kind)


@pytest.mark.parametrize("role", ["", "root", "Admin", "viewer ", "nobody"])
def test_an_unknown_role_may_do_nothing(role: str) -> None:
    assert not any(allowed(role, permission) for permission in PERMISSIONS)


def test_nobody_has_a_permission_that_there_is_not() -> None:
    assert not allowed("admin", "cluster.destroy")


TOKENS = (
    Token("boss", "admin", digest_of("one"), 0.0),
    Token("eye", "viewer", digest_of("two"), 0.0, expires_at=100.0),
)


def test_a_token_is_found_by_its_secret() -> None:
    assert principal_of("one", TOKENS, 50.0) == Principal("boss", "admin")
    assert principal_of("two", TOKENS, 99.9) == Principal("eye", "viewer")


def test_a_token_is_refused_from_the_moment_it_expires() -> None:
    with pytest.raises(Denied, match="expired"):
        principal_of("two", TOKENS, 100.0)


@pytest.mark.parametrize("secret", ["", "three", digest_of("one"), "one ", "ÿ"])
def test_what_is_no_secret_is_refused(secret: str) -> None:
    with pytest.raises(Denied, match="not known"):
        principal_of(secret, TOKENS, 50.0)
