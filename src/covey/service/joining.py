"""How a machine comes to be a node: an invitation that leads to this cluster and no other, and the certificate of whoever uses it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from covey.base.certificates import issue
from covey.base.clock import Clock
from covey.base.errors import Refused, check, require
from covey.base.tls import fingerprint
from covey.model.membership import Membership
from covey.model.requests.node import JoinNode
from covey.model.view import ClusterView


@dataclass(frozen=True, slots=True)
class Authority:
    """The cluster's authority, where its key is: in the directory `files`. `doors` (HOST:PORT) is where the API listens for the network."""

    files: Path
    doors: tuple[str, ...]
    clock: Clock

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.files / "ca.pem")

    @property
    def certificate(self) -> str:
        return (self.files / "ca.pem").read_text()

    def issue(self, request: str, node: str) -> str:
        """Raises BadInput for what is no signing request."""
        return issue(self.files, request, node, self.clock)


def needed(authority: Authority | None, view: ClusterView) -> Authority:
    """Raises Refused where Covey does not listen on the network: nobody could come; and while a machine leads that does not have it."""
    leadership = view.leadership
    check(
        authority or not (leadership and leadership.right),
        Refused(
            "the cluster's authority is not on the machine that leads now",
            "cluster",
            "it is where the cluster was made: restart the controllers of the others until that one leads, then ask again",
        ),
    )
    return require(
        authority,
        Refused(
            "this Covey does not listen on the network, so no machine could join",
            "--listen",
            'set listen = "ADDRESS:7443" in /etc/covey/covey.toml and restart covey-controller, or: covey up --listen ADDRESS:7443',
        ),
    )


def membership_of(view: ClusterView, request: JoinNode, authority: Authority) -> Membership:
    """What the machine that joins by this request is to know of the cluster."""
    nodes = {*view.collections["node"], request.id}
    return Membership(
        view.cluster.uuid,
        view.cluster.name,
        request.name,
        request.address,
        tuple(sorted(nodes)),
        authority.doors,
        storage_address=request.storage_address,
    )
