# RDN, super-resolution by 2, small enough for two cores.
_base_ = './edsr_sr_x2-tiny.py'

model = dict(generator=dict(_delete_=True, **_base_.sr_networks.rdn, upscale_factor=2))
