"""Episodes and tokens: stored, converted, collected, cut into clips."""
