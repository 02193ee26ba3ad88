"""The way from the site to its hub: dialled from here, never to here."""
