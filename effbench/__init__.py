"""effbench: how efficient a GPU node really is, with evidence. The library is `effbench.api`."""

__version__ = "0.1.0"
__all__ = ["__version__"]
