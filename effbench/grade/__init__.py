"""Scorecard and policy to grade."""
