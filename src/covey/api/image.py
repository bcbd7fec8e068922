"""Golden images."""

from __future__ import annotations

from covey.api.changes import change, listed, shown
from covey.api.documents import ImageDocument
from covey.model.requests.image import AddImage, BuildImage, RemoveImage
from covey.service.listing import IMAGE

OPERATIONS = (
    listed(IMAGE, "/v1/images", "list_images", "All images", ImageDocument, "image.read"),
    change(
        "POST",
        "/v1/images",
        "add_image",
        "Fetch an image from a file or a URL",
        AddImage,
        example={"name": "debian-12", "source": "/srv/images/debian-12.qcow2"},
    ),
    change(
        "POST",
        "/v1/image-builds",
        "build_image",
        "Build an image of Debian",
        BuildImage,
        example={"name": "debian-12", "suite": "bookworm", "packages": ["vim-tiny"]},
    ),
    shown(IMAGE, "/v1/images/{name}", "show_image", "One image, with its users", ImageDocument, "image.read"),
    change("DELETE", "/v1/images/{name}", "remove_image", "Remove an image", RemoveImage, {"name": "image"}, target="image"),
)
