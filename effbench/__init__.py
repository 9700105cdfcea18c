"""effbench: how efficient a GPU node really is, with evidence. The verbs live in `effbench.api`."""

__version__ = "0.1.0"
