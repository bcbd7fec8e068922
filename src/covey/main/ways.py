"""How this controller reaches agents, and who it is to them."""

from __future__ import annotations

import ssl

from covey.agent.membership import read_membership
from covey.agent.way import LocalWay, NetworkWay, Way
from covey.base.certificates import ensure_identity
from covey.base.clock import Clock
from covey.base.identity import CertificateFiles, caller_context, files_in
from covey.main.layout import Layout, node_id
from covey.model.node import Node
from covey.model.view import ClusterView


def is_the_clusters(layout: Layout) -> bool:
    """Whether the authority here is the cluster's: a machine that joined, and carries no controller, has one for its own door only."""
    if read_membership(layout.identity) is None:
        return True
    own, clusters = layout.tls / "ca.pem", files_in(layout.identity).ca
    return (layout.tls / "ca.key").exists() and own.exists() and own.read_bytes() == clusters.read_bytes()


def identity_here(layout: Layout, clock: Clock) -> CertificateFiles:
    """What this node shows to others: issued here where the cluster's authority is, else when the machine joined."""
    if is_the_clusters(layout):
        return ensure_identity(layout.identity, layout.tls, node_id(layout), clock)
    return files_in(layout.identity)


class NetworkWays:
    """To this machine's own agent by its socket, to those of other nodes over the network."""

    def __init__(self, layout: Layout, clock: Clock) -> None:
        self._layout = layout
        self._clock = clock
        self._own = node_id(layout)
        self._context: ssl.SSLContext | None = None  # made when it is needed: a cluster of one machine has no certificates

    def __call__(self, view: ClusterView) -> tuple[Way, ...]:
        others = sorted((node.address, node.id) for node in view.all("node", Node) if node.address and node.id != self._own)
        if others and self._context is None:
            self._context = caller_context(identity_here(self._layout, self._clock))
        local = LocalWay(self._layout.agent_socket)
        return local, *(NetworkWay(address, id, self._context) for address, id in others if self._context)

    def to(self, node: str, address: str) -> Way:
        """To the agent of one that is no node any more."""
        if node == self._own:
            return LocalWay(self._layout.agent_socket)
        return NetworkWay(address, node, caller_context(identity_here(self._layout, self._clock)))

    def refresh(self) -> None:
        """New connections show the certificate that this node has by now."""
        if self._context:
            files = identity_here(self._layout, self._clock)
            self._context.load_cert_chain(files.certificate, files.key)
