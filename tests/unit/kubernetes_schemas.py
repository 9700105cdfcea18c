"""Kubernetes' published schemas, as tests ask them."""

from collections.abc import Iterable
from typing import Any

import pytest

VERSIONS = ["1.25", "1.31", "1.37"]
# Of a GPU node as it is by default, and of the other kinds of nodes.
NODES: list[dict[str, Any]] = [
    {},
    {"gpus": 0, "cpu": "16", "memory": "64Gi", "namespace": "lab", "nodes": 1},
]


def refusals(documents: Iterable[dict[str, Any]], version: str) -> list[str]:
    """What the schemas of `version` say against each document; empty when they say nothing."""
    validate = pytest.importorskip("kubernetes_validate")
    found = []
    for document in documents:
        try:
            validate.validate(document, version, strict=True)
        except validate.ValidationError as error:
            found.append(str(error))
    return found
