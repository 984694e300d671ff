# Motion deblurring: GoPro, where mmagic's configs look.
pairs = dict(
    train=dict(
        metainfo=dict(dataset_type='GoPro', task_name='deblurring'),
        data_root='data/gopro/train',
        data_prefix=dict(img='blur', gt='sharp'),
    ),
    val=dict(
        metainfo=dict(dataset_type='GoPro', task_name='deblurring'),
        data_root='data/gopro/test',
        data_prefix=dict(img='blur', gt='sharp'),
    ),
)

data_help = """GoPro (Nah et al., CVPR 2017; 2,103 training pairs) goes to data/gopro/{train,test}/{blur,sharp};
mmagic's documentation of the data set describes how to get it."""
