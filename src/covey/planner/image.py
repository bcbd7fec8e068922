"""Verbs of images."""

from __future__ import annotations

from dataclasses import replace

from covey.base.errors import Refused, Unavailable, check
from covey.model.image import Image, Recipe
from covey.model.instance import Instance
from covey.model.node import Node
from covey.model.plan import Plan, Uses, delete, put
from covey.model.requests.image import AddImage, BuildImage, RemoveImage
from covey.model.step import ResultOf, Step
from covey.model.steps.image import EnsureImageAbsent, EnsureImageBuilt, EnsureImageFetched
from covey.model.view import ClusterView
from covey.planner.drawing import draw_uuid
from covey.planner.everywhere import NODES, all_nodes, reached
from covey.planner.layers import owners
from covey.planner.registry import plans
from covey.planner.removed import keepers
from covey.planner.wording import named

_FACTS = {field: ResultOf(0, field) for field in ("format", "size", "file_size", "sha256")}


@plans(AddImage)
def add(view: ClusterView, request: AddImage) -> Plan:
    """Fetch an image from a file or a URL. Raises Refused when the name is taken."""
    image = Image(draw_uuid(request, "image"), request.name, request.source, "adding", request.now, notes=request.notes)
    step = EnsureImageFetched(node=_node(view, image).id, image=image.id, source=request.source, sha256=request.sha256.lower())
    warnings = (
        ()
        if request.sha256 or not request.source.startswith("http:")
        else ("fetched by plain HTTP and without --sha256: anybody on the way could change it",)
    )
    return _making(view, image, step, f"fetch image {image.name} from {request.source}", warnings)


@plans(BuildImage)
def build(view: ClusterView, request: BuildImage) -> Plan:
    """Build a golden image. Raises Refused when the name is taken."""
    recipe = Recipe(request.suite, request.packages, request.hooks, request.size, request.mirror)
    image = Image(
        draw_uuid(request, "image"),
        request.name,
        f"built: {request.suite}",
        "adding",
        request.now,
        recipe=recipe,
        notes=request.notes,
    )
    step = EnsureImageBuilt(node=_node(view, image).id, image=image.id, recipe=recipe)
    extra = f" with {len(request.packages)} packages more" if request.packages else ""
    return _making(view, image, step, f"build image {image.name} from Debian {request.suite}{extra}", ())


def _making(view: ClusterView, image: Image, step: Step, summary: str, warnings: tuple[str, ...]) -> Plan:
    check(not view.named("image", image.name), Refused("the name is taken", image, "see: covey image list"))
    image = replace(image, node=step.node)
    return Plan(
        summary,
        (step,),
        Uses(exclusive=(f"image/{image.id}",)),
        warnings=warnings,
        begin=(put(image),),
        success=(put(replace(image, state="ready"), **_FACTS),),
        undone=(delete(image),),
    )


def _node(view: ClusterView, image: Image) -> Node:
    """Where it is made. Raises Refused before `cluster init`."""
    view.check_initialised()
    nodes = reached(view)
    check(nodes, Unavailable("the cluster has no node", image))
    return nodes[0]


@plans(RemoveImage)
def remove(view: ClusterView, request: RemoveImage) -> Plan:
    """Raises Refused while a disk is a clone of it or an instance has it as CD-ROM, naming the users."""
    image = view.image(request.image)
    above, kept_above = owners(view, (layer for layer in view.layers if layer.image == image.id))
    users = above.union(instance.name for instance in view.instances if _reads_from(image, instance))
    check(
        not users,
        Refused(
            f"it is used by {named(sorted(users))}",
            image,
            "their disks read from it; remove them first, or make the disks independent: covey disk flatten NAME INDEX",
        ),
    )
    kept = [removed for removed in view.removed if removed in kept_above or _reads_from(image, removed.instance)]
    check(
        not kept,
        Refused(
            f"removed things that are kept for a while use it: {named(sorted(one.title for one in kept))}",
            image,
            f"restore or purge them first: {keepers(kept)}",
        ),
    )
    maker = view.job_at_work_on(f"image/{image.id}") if image.state == "adding" else 0
    check(not maker, Refused("it is being made", image, f"cancel that: covey job cancel {maker}"))
    return Plan(
        f"remove {image}",
        tuple(EnsureImageAbsent(node=node.id, image=image.id) for node in all_nodes(view)),
        Uses((f"image/{image.id}",), (NODES,)),
        begin=(put(replace(image, state="removing")),),
        undone=(put(image),),
        success=(delete(image),),
        repair=f"covey image remove {image.name}",
    )


def _reads_from(image: Image, instance: Instance) -> bool:
    return instance.iso == image.id or any(disk.image == image.id for disk in instance.disks)
