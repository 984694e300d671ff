"""What .dev_scripts/evidence.py is made of."""
