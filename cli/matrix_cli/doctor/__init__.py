"""`matrix doctor`: looks at this machine, and neither starts, ends nor changes anything."""
