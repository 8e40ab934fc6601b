"""Records of JSONL files: reading, checking, converting, choosing, writing."""
