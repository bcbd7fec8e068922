"""The verbs: a pure function of what is known and what is asked, for each kind of request (DESIGN section 1.1)."""

from covey.planner.registry import plan

__all__ = ["plan"]
