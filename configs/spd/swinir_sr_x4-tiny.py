# SwinIR, super-resolution by 4, small enough for two cores.
_base_ = './edsr_sr_x4-tiny.py'

model = dict(generator=dict(_delete_=True, **_base_.sr_networks.swinir, upscale=4))
