"""One run of a training: its folder, how it is resumed, the trainer's options and callbacks."""
