# Gaussian denoising: photographs of DIV2K, Flickr2K, WED and BSD500; noise is added while training.
pairs = dict(
    train=dict(
        metainfo=dict(dataset_type='DFWB', task_name='denoising'),
        data_root='data/DFWB',
        data_prefix=dict(img='', gt=''),
    ),
    val=dict(
        metainfo=dict(dataset_type='CBSD68', task_name='denoising'),
        data_root='data/denoising_gaussian_test',
        data_prefix=dict(img='CBSD68', gt='CBSD68'),
    ),
)

data_help = """data/DFWB holds the photographs of DIV2K, Flickr2K, WED and BSD500 in one folder (published: cut into
crops of 512 pixels; swz30/Restormer, folder Denoising, links them), or any photographs of your own. The test sets
CBSD68, Kodak24, McMaster and Urban100 go to data/denoising_gaussian_test/NAME, for gray images Set12, BSD68 and
Urban100; CBSD68 (BSD68) validates."""
