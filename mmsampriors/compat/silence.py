"""What upstream would tell others over the network."""

import os


def keep_onnxruntime_silent():
    """onnxruntime 1.32 for Linux looks for Microsoft's server of usage data, and leaves a file in the temporary folder.

    mmagic's imports import it where it is installed. Its own ``disable_telemetry_events`` stops neither; this variable
    does, if it is set before the import. A value that is there stays. Can go when the wheels no longer do so.
    """
    os.environ.setdefault('ORT_DISABLE_TELEMETRY', '1')
