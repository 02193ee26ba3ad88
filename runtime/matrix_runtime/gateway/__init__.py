"""One OpenAI HTTP endpoint for every model of the cluster: HAProxy moves the bytes, Python writes its configuration."""
