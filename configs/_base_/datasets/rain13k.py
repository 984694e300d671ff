# Deraining: Rain13K to train, Rain100L to validate, in the layout of mmagic's deraining sets.
pairs = dict(
    train=dict(
        metainfo=dict(dataset_type='Rain13K', task_name='deraining'),
        data_root='data/Rain13K',
        data_prefix=dict(img='input', gt='target'),
    ),
    val=dict(
        metainfo=dict(dataset_type='Rain100L', task_name='deraining'),
        data_root='data/Rain100L',
        data_prefix=dict(img='input', gt='target'),
    ),
)

data_help = """Rain13K (13,712 training pairs) and the test sets are linked from Restormer's repository,
swz30/Restormer, folder Deraining: train goes to data/Rain13K/{input,target}, each test set to data/NAME/{input,target},
NAME being Rain100H, Rain100L, Test100, Test1200 and Test2800. Training needs data/Rain13K and, to validate,
data/Rain100L."""
