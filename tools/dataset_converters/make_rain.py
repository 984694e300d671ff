"""Makes pairs with synthetic rain from a folder of photographs: ``make_rain.py PHOTOGRAPHS OUT``."""

from pair_tool import main  # puts the checkout on sys.path

from mmsampriors.data_preparation.degradations import RainSettings, add_rain

if __name__ == '__main__':
    main(add_rain, RainSettings)
