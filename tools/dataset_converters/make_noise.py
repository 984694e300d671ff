"""Makes pairs with synthetic noise from a folder of photographs: ``make_noise.py [--camera] PHOTOGRAPHS OUT``."""

import sys

from pair_tool import main  # puts the checkout on sys.path

from mmsampriors.data_preparation.degradations import CameraSettings, NoiseSettings, add_camera_noise, add_noise

if __name__ == '__main__':
    # Each kind of noise has settings, and so options, of its own.
    if '--camera' in sys.argv[1:]:
        sys.argv.remove('--camera')
        main(add_camera_noise, CameraSettings)
    else:
        main(add_noise, NoiseSettings, note='--camera: noise as cameras make it; --camera --help lists its settings')
