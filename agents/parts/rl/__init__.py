"""Parts of the policy-gradient step: advantages, losses, KL, corrections."""
