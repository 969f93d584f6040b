"""Making fakes: rendered demo people, forgeries of ordinary pictures, and the demo set built from both."""
