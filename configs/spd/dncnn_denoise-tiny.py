# DnCNN, denoising, small enough for two cores: how a network that mmagic does not have goes in. A network of your own
# needs one line more, the module that registers it: custom_imports = dict(imports=['my_networks']).
_base_ = './nafnet_denoise-tiny.py'

model = dict(
    generator=dict(_delete_=True, type='mmsampriors.DnCNN', channels=3, width=16, depth=8),
    pixel_loss=dict(type='MSELoss'),
)
