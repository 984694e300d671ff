# Denoising of real photographs: SIDD, where mmagic's configs look.
pairs = dict(
    train=dict(
        metainfo=dict(dataset_type='SIDD', task_name='denoising'),
        data_root='data/SIDD/train',
        data_prefix=dict(img='noisy', gt='gt'),
        filename_tmpl=dict(img='{}_NOISY', gt='{}_GT'),
    ),
    val=dict(
        metainfo=dict(dataset_type='SIDD', task_name='denoising'),
        data_root='data/SIDD/val',
        data_prefix=dict(img='noisy', gt='gt'),
        filename_tmpl=dict(img='{}_NOISY', gt='{}_GT'),
    ),
)

data_help = """SIDD-Medium (Abdelhamed et al., CVPR 2018), cut into crops, goes to data/SIDD/train/{noisy,gt} and
data/SIDD/val/{noisy,gt} under the names ID_NOISY.png and ID_GT.png; mmagic's documentation of the data set describes
how to get it.
Pairs of make_noise.py need filename_tmpl=dict(img='{}', gt='{}') too."""
