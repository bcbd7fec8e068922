"""Images come to a node when it needs them first."""

from __future__ import annotations

from collections.abc import Iterable

from covey.base.errors import Unavailable, check
from covey.model.image import Image, ImageFacts
from covey.model.node import Node
from covey.model.step import Step
from covey.model.steps.image import EnsureImageBrought
from covey.model.view import ClusterView


def home_of(view: ClusterView, image: Image) -> Node:
    """The node where an image was made; of one from before there were several nodes, the first there was."""
    recorded: Node | None = view.find("node", image.node) if image.node else None
    return recorded or min(view.all("node", Node), key=lambda node: (node.created_at, node.name))


def bringing(view: ClusterView, node: str, images: Iterable[Image | None], holder: Node | None = None) -> tuple[Step, ...]:
    """The steps after which the node with this id has these images: from where they were made, or from a `holder` that has them all.
    Raises Unavailable while the node that has one cannot give it."""
    steps = []
    for image in dict.fromkeys(image for image in images if image):
        home = home_of(view, image)
        if home.id == node:
            continue
        home = holder or home
        check(
            home.address and home.id in view.telemetry,
            Unavailable(
                f"{home}, which has it, cannot be reached by other nodes", image, "try again in a moment; see: covey node list"
            ),
        )
        facts = ImageFacts(image.format, image.size, image.file_size, image.sha256)
        steps.append(
            EnsureImageBrought(
                node=node,
                image=image.id,
                facts=facts,
                origin=home.id,
                origin_name=home.name,
                address=home.door_for(view.node_by_id(node)),
            )
        )
    return tuple(steps)
