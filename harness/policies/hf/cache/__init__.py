"""State of a batch between two forward passes: keys and values, and recurrent states."""
