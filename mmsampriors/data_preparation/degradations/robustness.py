"""Degradations unlike those that a network was trained on: what its robustness is measured with. [ours]"""

from .blur import BlurSettings, add_blur
from .noise import NoiseSettings, add_noise
from .rain import RainSettings, add_rain

#: Task to name of a test set to how it is made, (function, settings). The first of each task is the makers' default, or
#: the noise that is most often trained on. ``configs/_base_/robustness.py`` lists the same names.
ROBUSTNESS = dict(
    derain=dict(
        rain=(add_rain, RainSettings()),
        rain_heavy=(add_rain, RainSettings(density=(0.4, 0.8), brightness=(0.6, 0.9))),
        rain_slanted=(add_rain, RainSettings(angle=(45, 70))),
        rain_long=(add_rain, RainSettings(length=(60, 100))),
        rain_veiled=(add_rain, RainSettings(veiling=(0.3, 0.5))),
    ),
    deblur=dict(
        blur=(add_blur, BlurSettings()),
        blur_long=(add_blur, BlurSettings(length=(45, 70))),
        blur_straight=(add_blur, BlurSettings(turn=0)),
    ),
    denoise=dict(
        noise_25=(add_noise, NoiseSettings(sigma=25)),
        noise_15=(add_noise, NoiseSettings(sigma=15)),
        noise_50=(add_noise, NoiseSettings(sigma=50)),
        noise_75=(add_noise, NoiseSettings(sigma=75)),
        noise_poisson=(add_noise, NoiseSettings(sigma=5, peak=60)),
    ),
)
