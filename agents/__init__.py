"""Methods: one file each, on the parts they share."""
