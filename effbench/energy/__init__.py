"""Joules and watts that can be believed: windows, integrals, the ledger, the interval, and when there is no figure."""
