# Restormer, deraining, on Rain13K.
_base_ = './restormer_spd_8xb8-lr3e-4-300k_rain13k.py'
