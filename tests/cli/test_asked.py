"""A request in words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from covey.cli.asked import WIDTH, asked_lines
from covey.model.request import Request
from covey.service.jobs import request_document
from tests.kit.requests import requests


@pytest.mark.parametrize(
    ("request_", "title", "said"),
    [
        ({"kind": "instance.start", "instance": "web1"}, "instance start web1", []),
        ({"kind": "instance.start", "instance": "web1", "iso": "rescue"}, "instance start web1", ["  asked:   iso rescue"]),
        ({"kind": "instance.stop", "instance": "web1", "graceful_s": 0.0}, "instance stop web1", ["  asked:   graceful 0s"]),
        ({"kind": "instance.add", "name": "web1", "nics": []}, "instance add web1", ["  asked:   nics none"]),
        ({"kind": "disk.grow", "instance": "web1", "disk": 0, "size": 2**31}, "disk grow web1 0", ["  asked:   size 2G"]),
        ({"kind": "forward.add", "port": "tcp/80", "instance": "web1"}, "forward add tcp/80", ["  asked:   instance web1"]),
        ({"kind": "a.new.one", "this": {"is": [1, 2]}}, "a new one", ["  asked:   this (is 1, 2)"]),
    ],
)
def test_what_was_asked_for_is_said_without_what_the_title_says(request_: dict[str, Any], title: str, said: list[str]) -> None:
    assert asked_lines(request_, title) == said


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
@given(requests())
def test_every_request_can_be_said(request: Request) -> None:
    for line in asked_lines(request_document(request), request.title):
        assert len(line) <= WIDTH or " " not in line.strip().removeprefix("asked:").strip()
