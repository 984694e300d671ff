# NAFNet, denoising, on SIDD.
_base_ = './nafnet_spd-c64eb2248mb12db2222_8xb8-lr1e-3-400k_sidd.py'
