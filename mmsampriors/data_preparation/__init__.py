"""Making pairs on disk: degradations, pairs from photographs, and crops of large images."""
