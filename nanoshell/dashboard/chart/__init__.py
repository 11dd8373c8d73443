"""The charts: reducing, scaling, smoothing and drawing lines in braille."""
