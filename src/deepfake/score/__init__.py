"""From logits to scores and a submission. A score is a logit to the last line."""
