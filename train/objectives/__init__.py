"""What training can minimise beside the cross-entropy."""
