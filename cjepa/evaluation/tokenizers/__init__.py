"""What tokens keep: segmentation, objects behind others, optical flow, and what probes read from them."""
