"""Frozen structs that flow through effbench; imports msgspec and nothing of ours."""
