"""From files of videos to batches of clips."""

import utils  # noqa: F401  by which OpenCV is quiet, whoever imports it first
