"""Influence graphs, counterfactuals, permanence: what a world model says of interventions, against the simulator."""
