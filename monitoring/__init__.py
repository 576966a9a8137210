"""What is seen: before, during and after a run."""
