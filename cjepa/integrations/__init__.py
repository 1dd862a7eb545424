"""Other projects' harnesses, driven by our models and planners; none of them is imported here."""
