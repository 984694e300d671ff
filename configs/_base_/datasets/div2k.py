# Super-resolution: DIV2K to train, Set5 (MSRResNet: Set14) to validate, where mmagic's configs look.

# What the metrics of mmagic's configs get here. The border is the scale's already.
on_y = dict(PSNR=dict(convert_to='Y'), SSIM=dict(convert_to='Y'))

data_help = """DIV2K (Agustsson and Timofte, CVPRW 2017; 800 training images) is linked from
https://data.vision.ee.ethz.ch/cvl/DIV2K/: unpack DIV2K_{train,valid}_HR and DIV2K_{train,valid}_LR_bicubic_X{2,3,4}
into one folder, and cut them into sub-images:
python tools/dataset_converters/prepare_div2k.py FOLDER data/DIV2K
The test sets Set5 and Set14 go to data/NAME/{GTmod12,LRbicx2,LRbicx3,LRbicx4}: ground truths cropped to multiples of
12, and small copies as MATLAB's imresize makes them (make_lowres.py makes such).
Pairs of make_lowres.py: data_root=OUT, data_prefix=dict(img='input', gt='target'), ann_file=''"""
