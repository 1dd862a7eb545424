"""What users look at and pass on: inspect, verify, preview, export."""
