"""Pure numbers: quantiles, intervals, stopping, comparison, drift."""
