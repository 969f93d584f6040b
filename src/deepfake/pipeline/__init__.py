"""What several commands do alike: cropping media, scoring them as they come. Values in, tables out; no configuration."""
