"""cluster verify: what the nodes have, compared with what the records say. Pure."""

from covey.service.verify.verify import verify, way_to_a_silent_node
from covey.service.verify.work import ERROR, WARNING, Finding, Verdict

__all__ = ["ERROR", "WARNING", "Finding", "Verdict", "verify", "way_to_a_silent_node"]
