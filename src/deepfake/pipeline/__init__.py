"""What several commands do alike: cropping media, and scoring them as they come. It knows no configuration."""
