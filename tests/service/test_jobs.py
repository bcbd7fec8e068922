"""Jobs as people read them."""

from __future__ import annotations

import json

from covey.model.requests.image import AddImage
from covey.model.requests.instance import AddInstance
from covey.model.requests.token import AddToken, RemoveToken
from covey.service.jobs import request_document


def test_what_was_asked_for_is_told_without_secrets() -> None:
    requests = [
        AddInstance(name="web1", user_data="password: hunter2", secret="hunter2", notes="his password=hunter2"),  # noqa: S106
        AddImage(name="a", source="https://anna:hunter2@mirror.example/a.qcow2"),
        AddToken(name="ci", digest="hunter2"),
    ]
    for request in requests:
        assert "hunter2" not in json.dumps(request_document(request)), request.kind


def test_the_name_of_a_token_is_no_secret() -> None:
    assert request_document(RemoveToken(token="ci")) == {"kind": "token.remove", "token": "ci"}  # noqa: S106
