import utils  # noqa: F401  by which OpenCV is quiet, whoever imports it first
