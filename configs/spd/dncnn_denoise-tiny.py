# DnCNN, denoising, small enough for two cores: how a network that mmagic does not have goes in. custom_imports names
# the module that registers it, which can be yours, and generator is its config.
_base_ = './nafnet_denoise-tiny.py'

custom_imports = dict(imports=_base_.custom_imports.imports + ['mmsampriors.models.networks.dncnn'])

model = dict(
    generator=dict(_delete_=True, type='DnCNN', channels=3, width=16, depth=8, _scope_='mmagic'),
    pixel_loss=dict(type='MSELoss'),
)
