"""What gets published: records, statistics, boards."""
