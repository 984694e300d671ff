# Restormer, denoising, on SIDD.
_base_ = './restormer_spd_8xb8-lr3e-4-300k_sidd.py'
