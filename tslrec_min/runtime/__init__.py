"""What a process computes with and says: devices, processes of torchrun, progress, checks of array arguments."""
