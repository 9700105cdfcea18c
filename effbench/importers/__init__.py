"""What other tools measured, read into records: one module per format, found by its name.

A format is a file `catalog/import/<format>.yaml` and a module of this folder of the same name.
"""

import importlib
from typing import cast

from effbench.catalog.imports import import_map
from effbench.importers.contract import Importer

__all__ = ["load"]


def load(name: str) -> Importer:
    """Return the importer of a format.

    Raises:
        InputError: there is no such format; the message lists those there are.
    """
    return cast(Importer, importlib.import_module(f"{__name__}.{import_map(name).format.replace('-', '_')}"))
