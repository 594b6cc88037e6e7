"""What both halves of federation do alike."""
