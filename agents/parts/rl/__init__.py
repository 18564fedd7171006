"""The policy-gradient step: advantages, losses, KL, importance correction."""
