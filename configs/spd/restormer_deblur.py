# Restormer, deblurring, on GoPro.
_base_ = './restormer_spd_8xb8-lr3e-4-300k_gopro.py'
