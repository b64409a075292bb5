"""mlcycle: train a face detector, freeze it into one file, run that file anywhere."""

import os

__version__ = "0.1.0"

# onnxruntime tells its makers of each start, over the network and from a file in the user's cache, unless this is set
# before anything imports it. Its own switch, disable_telemetry_events, comes too late for that.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
