"""Making fakes out of given pixels.

Each forgery is a pure function of a uint8 RGB frame, its `FacePoints` and a frozen set of parameters that a forger
would keep for a whole clip; `sample_*` draws such a set. Nothing outside the soft mask changes.
"""
