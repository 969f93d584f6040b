"""The demo set: rendered people who talk before a camera, filmed and forged, as a small competition's folder."""
