"""Makes pairs with synthetic noise from a folder of photographs: ``make_noise.py PHOTOGRAPHS OUT``."""

from pair_tool import main  # puts the checkout on sys.path

from mmsampriors.data_preparation.degradations import NoiseSettings, add_noise

if __name__ == '__main__':
    main(add_noise, NoiseSettings)
