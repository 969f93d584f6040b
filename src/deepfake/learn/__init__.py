"""Training and prediction: augmentation, data, models, the loop, checkpoints."""
