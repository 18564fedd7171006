"""The parts of an update: log-probabilities, and the padded forward pass with gradients."""
