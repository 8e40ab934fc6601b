"""Pictures of training, and of what is trained."""
