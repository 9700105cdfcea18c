"""Records to scorecard."""
