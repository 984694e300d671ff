# SwinIR, super-resolution by 3, small enough for two cores.
_base_ = './edsr_sr_x3-tiny.py'

model = dict(generator=dict(_delete_=True, **_base_.sr_networks.swinir, upscale=3))
