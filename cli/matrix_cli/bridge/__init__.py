"""What `matrix bridge` does beside running: setting up, looking."""
