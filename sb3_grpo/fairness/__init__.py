"""What a policy does to each group: metrics from patient records, and intervals for them."""
