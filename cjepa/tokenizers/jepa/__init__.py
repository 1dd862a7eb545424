"""Encoders that are trained by predicting their own features: I-JEPA and V-JEPA."""
