"""Tokens."""

from __future__ import annotations

from covey.api.changes import change, listed
from covey.api.documents import NewTokenDocument, TokenDocument
from covey.model.requests.token import AddToken, RemoveToken
from covey.service.listing import TOKEN

OPERATIONS = (
    listed(TOKEN, "/v1/tokens", "list_tokens", "All tokens, without their secrets", TokenDocument, "token.read"),
    change(
        "POST",
        "/v1/tokens",
        "add_token",
        "Let somebody in over the network; the secret is in this answer only",
        AddToken,
        answer=NewTokenDocument,
        example={"name": "monitor", "role": "viewer", "expires_at": None},
    ),
    change(
        "DELETE", "/v1/tokens/{name}", "remove_token", "Let its bearer in no more", RemoveToken, {"name": "token"}, target="token"
    ),
)
