"""Makes pairs with synthetic blur from a folder of photographs: ``make_blur.py PHOTOGRAPHS OUT``."""

from pair_tool import main  # puts the checkout on sys.path

from mmsampriors.data_preparation.degradations import BlurSettings, add_blur

if __name__ == '__main__':
    main(add_blur, BlurSettings)
