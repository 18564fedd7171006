"""Results in Python: tables for pandas and Parquet, plots, comparisons."""
