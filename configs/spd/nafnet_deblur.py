# NAFNet, deblurring, on GoPro.
_base_ = './nafnet_spd-c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py'
