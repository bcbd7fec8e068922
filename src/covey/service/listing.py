"""Lists of records: filtered, cut into pages, with an ETag that costs nothing to compute.

Instances come by the thousand, so their documents are kept, as dict and as bytes, for as long as their records stay the same; what is
live (telemetry) is put behind when a list is made.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from covey.base.errors import BadInput, NotFound, check, require
from covey.model.instance import Instance
from covey.model.view import ClusterView
from covey.service import documents
from covey.service.documents import LIVE_FIELDS, Document
from covey.service.filters import NO_FILTER, Filter, parse_fields, parse_filter
from covey.service.tally import Tally

LARGEST_PAGE = 10_000


@dataclass(frozen=True, slots=True)
class Noun:
    """A kind of record that can be listed. Its document is made from `collections` and, when `live`, from telemetry; `find` raises
    NotFound."""

    name: str
    find: Callable[[ClusterView, str], Any]
    document: Callable[[ClusterView, Any], Document]
    collections: tuple[str, ...]
    fields: frozenset[str]
    live: bool = False


def _noun(
    name: str,
    find: Callable[[ClusterView, str], Any],
    document: Callable[[ClusterView, Any], Document],
    fields: str,
    *others: str,
    live: bool = False,
) -> Noun:
    return Noun(name, find, document, (name, *others), frozenset(fields.split()), live)


NODE = _noun(
    "node",
    ClusterView.node,
    documents.node,
    "name id address storage_address state drained_at drain_reason notes created_at answers as_of hostname boot_id kernel hypervisor uptime_s cpus cpu_percent load1 memory memory_free"
    " memory_promised memory_reserved instances cpu_models firmwares pools problems",
    "pool",
    "instance",
    "plan",
    live=True,
)
POOL = _noun(
    "pool",
    ClusterView.pool,
    documents.pool,
    "name id template path format created_at nodes users",
    "node",
    "instance",
    "plan",
    live=True,
)
IMAGE = _noun(
    "image",
    ClusterView.image,
    documents.image,
    "name id source state format size file_size sha256 recipe notes created_at users",
    "instance",
)
NETWORK = _noun(
    "network",
    ClusterView.network,
    documents.network,
    "name id type bridge links uplink subnet gateway pool_first pool_last nat subnet6 gateway6 pool6_first pool6_last nat6 dns reserved"
    " host_ports forwards notes created_at addresses_used users",
    "node",
    "instance",
    "forward",
    live=True,
)
FORWARD = _noun(
    "forward",
    ClusterView.forward,
    documents.forward,
    "name protocol port network instance to_port addresses sources created_at",
    "network",
    "instance",
)
FIREWALL = _noun("firewall", ClusterView.firewall, documents.firewall, "name id rules notes created_at users", "instance")
TOKEN = _noun("token", ClusterView.token, documents.token, "name id role created_at expires_at")
INSTANCE = _noun(
    "instance",
    ClusterView.instance,
    documents.instance,
    "name id node cpus memory machine state since_at reason desired desired_by generation pid ready ready_at ready_status ready_s"
    " addresses disks nics forwards iso image tags owner protected notes ssh_keys created_at protection remark restart_at crashes"
    " gave_up cpu_percent memory_used max_cpus max_memory pending firmware cpu_model boot raw_xml firewalls",
    "observed",
    "node",
    "pool",
    "image",
    "network",
    "firewall",
    "forward",
    live=True,
)
REMOVED = _noun(
    "removed",
    lambda view, id: require(view.find("removed", id), NotFound("nothing of that id is kept", f"removed {id[:80]}")),
    documents.removed,
    "id what name disk node disks size used addresses removed_at keep_until_at by reason",
    "node",
)


@dataclass(frozen=True, slots=True)
class Query:
    """What of a list is wanted. `fields` () are all; `after` is the name of the last item of the page before; `limit` 0 is all."""

    filter: Filter = NO_FILTER
    fields: tuple[str, ...] = ()
    limit: int = 0
    after: str = ""

    @staticmethod
    def of(noun: Noun, filter_text: str, fields: str, limit: int, after: str) -> Query:
        """Raises BadInput."""
        check(0 <= limit <= LARGEST_PAGE, BadInput(f"must be between 0 and {LARGEST_PAGE}", "limit"))
        parsed = parse_filter(filter_text, noun.fields) if filter_text else NO_FILTER
        return Query(parsed, parse_fields(fields, noun.fields), limit, after)

    @property
    def is_plain(self) -> bool:
        return not self.filter.terms and not self.fields


_encode = json.JSONEncoder(separators=(",", ":")).encode


def dumps(document: object) -> bytes:
    """Compact JSON, in ASCII."""
    return _encode(document).encode()


@dataclass(slots=True)
class _Piece:
    """What is kept of one instance: made from the records that these revisions wrote."""

    revisions: tuple[int, int]
    document: Document
    head: bytes  # the document's JSON without its closing brace


class Listings:
    """Makes lists and single documents, and remembers those of instances."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._pieces: dict[str, _Piece] = {}
        self._made_with: tuple[int, int] = (-1, -1)
        self._names: dict[str, tuple[int, list[str]]] = {}  # collection -> revision, sorted names

    def etag(self, view: ClusterView, noun: Noun, query: Query) -> str:
        live = noun.live and (
            noun is not INSTANCE or not query.fields or not LIVE_FIELDS.isdisjoint({*query.fields, *query.filter.fields})
        )
        return self._tally.etag(view, noun.collections, live)

    def page(self, view: ClusterView, noun: Noun, query: Query) -> bytes:
        """The answer of a list: items, the cursor of the next page, and the revision that it shows."""
        names = self._sorted_names(view, noun.name)
        if query.after:
            names = names[bisect_right(names, query.after) :]
        make = self._instances if noun is INSTANCE else _others
        items, more = make(view, noun, names, query)
        following = dumps(more or None)
        revision = self._tally.revision(noun.collections)
        return b'{"items":[' + b",".join(items) + b'],"next":' + following + b',"revision":%d}' % revision

    def single(self, view: ClusterView, noun: Noun, name: str) -> tuple[bytes, str]:
        """One document and its ETag. The ETag begins with the record's own revision: see `record_revision`. Raises NotFound."""
        record = noun.find(view, name)
        self._forget_outdated(view)
        is_instance = noun is INSTANCE
        body = self._piece(view, record).head + _tail(view, record) if is_instance else dumps(noun.document(view, record))
        revision = view.revision_of(noun.name, record.id)
        return body, f'"{revision}-{self._tally.etag(view, noun.collections, noun.live)[1:]}'

    def _instances(self, view: ClusterView, noun: Noun, names: list[str], query: Query) -> tuple[list[bytes], str]:
        self._forget_outdated(view)
        ids = view.names["instance"]
        held = view.collections["instance"]
        if query.is_plain:
            page = names[: query.limit] if query.limit else names
            pieces = [self._piece(view, record) for record in (held[ids[name]][1] for name in page)]
            items = [piece.head + _tail(view, held[piece.document["id"]][1]) for piece in pieces]
            return items, page[-1] if len(page) < len(names) else ""
        return _selected(((name, self._live(view, held[ids[name]][1], query)) for name in names), query)

    def _live(self, view: ClusterView, record: Instance, query: Query) -> Document:
        document = self._piece(view, record).document
        wanted = {*query.fields, *query.filter.fields} if query.fields else LIVE_FIELDS
        return document if LIVE_FIELDS.isdisjoint(wanted) else {**document, **documents.instance_live(view, record)}

    def _piece(self, view: ClusterView, record: Instance) -> _Piece:
        revisions = (view.revision_of("instance", record.id), view.revision_of("observed", record.id))
        piece = self._pieces.get(record.id)
        if piece is None or piece.revisions != revisions:
            document = documents.instance(view, record)
            piece = self._pieces[record.id] = _Piece(revisions, document, dumps(document)[:-1])
        return piece

    def _forget_outdated(self, view: ClusterView) -> None:
        """Names of other things are within the documents, and whether the node answers: rare changes, so all are made anew."""
        made_with = (self._tally.revision(("node", "pool", "image", "network", "firewall", "forward")), self._tally.answering)
        if made_with != self._made_with or len(self._pieces) > 2 * len(view.collections["instance"]) + 100:
            self._pieces.clear()
            self._made_with = made_with

    def _sorted_names(self, view: ClusterView, collection: str) -> list[str]:
        revision = self._tally.changed[collection]
        kept = self._names.get(collection)
        if kept is None or kept[0] != revision:
            kept = self._names[collection] = (revision, sorted(view.names.get(collection) or view.collections[collection]))
        return kept[1]


def record_revision(etag: str) -> int | None:
    """The revision of the record that an ETag of `single` was made from: what If-Match compares, as live numbers change all the time.
    None when it is no such ETag."""
    digits = etag.removeprefix("W/").strip('"').partition("-")[0]
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 20 else None


def _others(view: ClusterView, noun: Noun, names: list[str], query: Query) -> tuple[list[bytes], str]:
    return _selected(((name, noun.document(view, noun.find(view, name))) for name in names), query)


def _selected(rows: Iterable[tuple[str, Document]], query: Query) -> tuple[list[bytes], str]:
    """The encoded rows that the query wants, and the name of the last one when there are more."""
    items: list[bytes] = []
    last = ""
    for name, row in rows:
        if not query.filter(row):
            continue
        if query.limit and len(items) == query.limit:
            return items, last
        items.append(dumps({field: row[field] for field in query.fields} if query.fields else row))
        last = name
    return items, ""


def _tail(view: ClusterView, record: Instance) -> bytes:
    """The live fields of an instance's JSON."""
    told = view.telemetry.get(record.node)
    use = told.instances.get(record.id) if told else None
    if use is None:
        return b',"cpu_percent":null,"memory_used":null}'
    return b',"cpu_percent":%s,"memory_used":%d}' % (repr(float(use.cpu_percent)).encode(), use.memory)
