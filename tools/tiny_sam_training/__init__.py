"""What ``tools/train_sam_tiny.py`` trains on and with: scenes with exact masks, batches of clicks, losses."""
