"""Speed on this machine, each time against a stated reference in the same run; one file a `cjepa bench NAME`."""
