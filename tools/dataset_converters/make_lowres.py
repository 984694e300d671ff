"""Makes pairs for super-resolution from a folder of photographs: ``make_lowres.py PHOTOGRAPHS OUT --scale 4``."""

from pair_tool import main  # puts the checkout on sys.path

from mmsampriors.data_preparation.degradations import LowresSettings, make_lowres

if __name__ == '__main__':
    main(make_lowres, LowresSettings)
