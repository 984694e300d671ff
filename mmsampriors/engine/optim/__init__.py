"""What concerns the optimizer's step: clipping, mixed precision on the CPU, and memory."""
