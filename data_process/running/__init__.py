"""Running a step: its parts on processes, a cluster or Ray, kept whole and joined in order."""
