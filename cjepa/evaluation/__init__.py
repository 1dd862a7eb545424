"""What is measured: metrics, intervals, probes, rollouts; interventions, planning and tokenizers in folders."""
