"""Makes pairs with synthetic rain from a folder of photographs: ``make_rain.py PHOTOGRAPHS OUT``."""
from pair_tool import main  # puts the checkout on sys.path

from mmsampriors.datasets.degradations import RainSettings, add_rain

if __name__ == '__main__':
    main(add_rain, RainSettings)
