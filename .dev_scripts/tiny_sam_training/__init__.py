"""What ``.dev_scripts/train_sam_tiny.py`` trains on and with: scenes with exact masks, batches of clicks, losses."""
