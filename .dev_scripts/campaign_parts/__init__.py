"""Parts of ``.dev_scripts/campaign.py``."""
