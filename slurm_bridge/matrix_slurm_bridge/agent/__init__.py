"""The site agent: keeps the jobs of each cluster as they are wanted, and tells what it sees."""
