"""Checks of configs and of data, before anything is trained."""
