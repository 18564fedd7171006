"""Task folders in the format of Harbor, run by the harbor package in its own interpreter."""
