"""Suite and inventory to plan, plan to journal, journal to record."""
