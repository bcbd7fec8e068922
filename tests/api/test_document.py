"""The OpenAPI document: complete, and what the answers really are."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from pydantic import TypeAdapter

from covey.api import documents, health_documents
from covey.api.app import NOUNS, make_app, openapi
from covey.model import codec
from covey.model.request import Request
from covey.service import listing
from tests.api.flock import GIB, Flock, done

OPERATIONS = [operation for noun in NOUNS.values() for operation in noun.OPERATIONS]
INTERNAL = {
    "repair.volume",
    "repair.bridge",
    "repair.domain",
    "repair.image",
    "repair.instance",
    "repair.filters",
    "repair.network",
    "repair.purge",
    "repair.upload",
    "node.readdress",
}  # made by cluster fix, by time and by joining only


def test_every_request_has_a_door() -> None:
    taken = {operation.permission for operation in OPERATIONS}
    assert set(codec.members(Request)) - INTERNAL <= taken


def test_operations_have_names_of_their_own() -> None:
    assert len({operation.id for operation in OPERATIONS}) == len(OPERATIONS)
    assert len({(operation.method, operation.path) for operation in OPERATIONS}) == len(OPERATIONS)


async def test_every_operation_is_described(flock: Flock, root: httpx2.AsyncClient) -> None:
    document = (await root.get("/v1/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    described = {(method.upper(), path): each for path, methods in document["paths"].items() for method, each in methods.items()}
    assert {(operation.method, operation.path) for operation in OPERATIONS} < set(described)
    for where, each in described.items():
        assert each["operationId"] and each["tags"] and each["summary"], where
        assert {"400", "401", "403", "500", "503"} <= set(each["responses"]), where
        for status, answer in each["responses"].items():
            if status in ("200", "202") and "application/json" in answer.get("content", {}):
                assert "$ref" in answer["content"]["application/json"]["schema"] or where[1] == "/v1/openapi.json", where
            if status >= "400":
                assert answer["content"]["application/problem+json"]["schema"]["$ref"].endswith("/Problem"), where
    assert "HTTPValidationError" not in document["components"]["schemas"]


async def test_bodies_are_those_of_the_requests(flock: Flock) -> None:
    schemas = openapi(make_app(flock.inside))["components"]["schemas"]
    body = schemas["AddInstanceBody"]
    assert body["additionalProperties"] is False
    assert body["required"] == ["name"]
    assert {"cpus", "disks", "user_data", "wait_ready"} <= set(body["properties"])
    assert not {"seed", "now", "secret"} & set(body["properties"])
    assert "digest" not in schemas["AddTokenBody"]["properties"]


@pytest.mark.parametrize(
    "noun",
    [listing.NODE, listing.POOL, listing.IMAGE, listing.NETWORK, listing.INSTANCE, listing.TOKEN],
    ids=lambda noun: str(noun.name),
)
def test_the_fields_of_a_noun_are_those_of_its_document(noun: listing.Noun) -> None:
    model = getattr(documents, f"{noun.name.capitalize()}Document")
    assert set(model.model_fields) == noun.fields


async def test_answers_are_as_described(flock: Flock, root: httpx2.AsyncClient) -> None:
    await done(root, await root.post("/v1/networks", json={"name": "lan", "subnet": "10.77.0.0/24"}))
    await done(root, await root.post("/v1/images", json={"name": "debian-12", "source": "/srv/debian.qcow2"}))
    await done(root, await root.post("/v1/instances", json={"name": "web1", "image": "debian-12", "disks": [{"size": GIB}]}))
    models: dict[str, Any] = {
        "/v1/cluster": documents.ClusterDocument,
        "/v1/status": health_documents.StatusDocument,
        "/v1/nodes/n1": documents.NodeDocument,
        "/v1/pools/default": documents.PoolDocument,
        "/v1/images/debian-12": documents.ImageDocument,
        "/v1/networks/lan": documents.NetworkDocument,
        "/v1/instances/web1": documents.InstanceDocument,
        "/v1/jobs/1": documents.JobDocument,
        "/v1/events": documents.EventPage,
        "/v1/tokens": documents.Page[documents.TokenDocument],
        "/v1/jobs": documents.Page[documents.JobDocument],
        "/v1/instances": documents.Page[documents.InstanceDocument],
    }
    for path, model in models.items():
        TypeAdapter(model).validate_json((await root.get(path)).content)
    plan = await root.post("/v1/instances?dry_run=true", json={"name": "web2", "disks": [{"size": GIB}]})
    TypeAdapter(documents.PlanDocument).validate_json(plan.content)
    TypeAdapter(health_documents.VerdictDocument).validate_json((await root.post("/v1/cluster/verify")).content)
