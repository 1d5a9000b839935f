"""What everything stands on."""

import os

# Before anything imports OpenCV: faults of videos are named in the health report, not scattered on stderr.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
