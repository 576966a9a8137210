"""Training: one loop, two objectives; torchrun ranks with DeepSpeed inside, started by a launcher."""
