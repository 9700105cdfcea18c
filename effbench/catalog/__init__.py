"""YAML documents to model, with file:line:column errors."""
