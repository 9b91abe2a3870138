"""What is on disk: artifacts, atomic writes, arrays, tensors, checkpoints, downloads."""
