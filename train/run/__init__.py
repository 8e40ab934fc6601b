"""What a training run says and keeps: plan, logs, samples, its directory."""
