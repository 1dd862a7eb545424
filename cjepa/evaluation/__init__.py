"""What is measured: metrics, intervals, probes, rollouts, planning."""
