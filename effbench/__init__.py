"""effbench: how efficient a GPU node really is, with evidence. The verbs load on first touch (PEP 562)."""

from typing import Any

__version__ = "0.1.0"
__all__ = ["__version__", "grade", "load_suite", "plan", "render", "run", "score"]

_VERBS = frozenset(__all__) - {"__version__"}


def __getattr__(name: str) -> Any:
    """Load a verb from `effbench.api` when it is first used, so that importing effbench costs nothing."""
    if name in _VERBS:
        from effbench import api

        return getattr(api, name)
    raise AttributeError(f"module 'effbench' has no attribute {name!r}")
