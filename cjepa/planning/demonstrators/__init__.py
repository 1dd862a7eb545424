"""Policies for collection that plan on the simulator."""
