"""From a cluster's spec and a profile of the site to job scripts. Pure."""
