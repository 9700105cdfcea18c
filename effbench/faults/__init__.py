"""Known faults put into simulated nodes and judged by the real path: what is caught, and what is condemned wrongly."""
