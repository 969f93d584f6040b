"""From a folder of videos and images to a deepfake-detection submission.csv."""

__version__ = "0.1.0"
